//! What a signer declares in a manifest, for every verb that signs one.

use clap::Args;
use countermark::lineage::credential::declared::{AssetType, Declared, SourceType, TrainingMining};

#[derive(Args)]
pub struct Declarations {
    /// What others may do with it: PURPOSE=allowed, PURPOSE=not-allowed or PURPOSE=constrained:CONDITIONS, where PURPOSE is
    /// ai-training, ai-generative-training, ai-inference or data-mining; may be given several times
    #[arg(long = "training-mining", value_name = "PURPOSE=WORD")]
    training_mining: Vec<TrainingMining>,
    /// How it came about, as a term of the IPTC such as digitalCapture; told from its kind when left out
    #[arg(long, value_name = "TERM")]
    source_type: Option<SourceType>,
    /// What it is, such as c2pa.types.model.pytorch; told from its kind and name when left out
    #[arg(long, value_name = "TYPE")]
    asset_type: Option<AssetType>,
}

impl Declarations {
    pub fn declared(self) -> Declared {
        let Declarations { training_mining, source_type, asset_type } = self;
        Declared { training_mining, source_type, asset_type, disclosure: None }
    }
}
