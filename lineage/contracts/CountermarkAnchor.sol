// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

/// Anchors checkpoints of logs: ERC-7053, the event alone.
///
/// Nobody owns this contract, it holds no state and no money, and everybody may call it. Whoever verifies pins its
/// address and the recorder's: a commit says who made it and when, and nothing else.
contract CountermarkAnchor {
    /// ERC-7053. `assetCid` is the CIDv1 (raw, SHA-256) of the checkpoint, `commitData` the checkpoint itself, so that the
    /// chain alone can bring it back.
    event Commit(address indexed recorder, string indexed assetCid, string commitData);

    /// ERC-7053. The block number is answered and not stored: the event says the same at half the gas.
    function commit(string calldata assetCid, string calldata commitData) external returns (uint256 blockNumber) {
        emit Commit(msg.sender, assetCid, commitData);
        return block.number;
    }
}
