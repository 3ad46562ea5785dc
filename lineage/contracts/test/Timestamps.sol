// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity ^0.8.24;

/// What the Ethereum Attestation Service does for time-stamps, with the same function, event and error. For tests only:
/// on a public chain use the service's own contract.
contract Timestamps {
    event Timestamped(bytes32 indexed data, uint64 indexed timestamp);

    error AlreadyTimestamped();

    mapping(bytes32 => uint64) private timestamps;

    function timestamp(bytes32 data) external returns (uint64 time) {
        if (timestamps[data] != 0) revert AlreadyTimestamped();
        time = uint64(block.timestamp);
        timestamps[data] = time;
        emit Timestamped(data, time);
    }

    function getTimestamp(bytes32 data) external view returns (uint64) {
        return timestamps[data];
    }
}
