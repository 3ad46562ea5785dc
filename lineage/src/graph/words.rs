//! What an artifact can be, and how it can come from another.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Makes an enum whose variants have one kebab-case spelling, in JSON, on the command line and in policies.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every word, in the order of the design.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The one spelling.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                $name::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| {
                    let all: Vec<_> = $name::ALL.iter().map(|word| word.as_str()).collect();
                    Error::usage(format!(concat!("unknown ", $what, " {:?}"), text), format!("use one of {}", all.join(", ")))
                })
            }
        }
    };
}

pub(crate) use words;

words! {
    /// What an artifact is.
    Kind, "kind" {
        /// Weights that work on their own.
        Model = "model",
        /// Weights that change a base model.
        Adapter = "adapter",
        /// Data.
        Dataset = "dataset",
        /// A part of a dataset.
        Shard = "shard",
        /// One run of training.
        TrainingRun = "training-run",
        /// Results of an evaluation.
        Evaluation = "evaluation",
        /// What a model produced.
        GeneratedContent = "generated-content",
    }
}

words! {
    /// How the child comes from the parent.
    Relation, "relation" {
        /// The parent is data that the child was trained on.
        TrainedOn = "trained-on",
        /// Training went on from the parent's weights.
        FineTunedFrom = "fine-tuned-from",
        /// The child is an adapter of the parent.
        AdapterOf = "adapter-of",
        /// The parent is one of several merged models.
        MergedFrom = "merged-from",
        /// The parent's weights in fewer bits.
        QuantisedFrom = "quantised-from",
        /// The parent with weights removed.
        PrunedFrom = "pruned-from",
        /// The parent taught the child.
        DistilledFrom = "distilled-from",
        /// The same content in another format.
        ConvertedFrom = "converted-from",
        /// Any other derivation.
        DerivedFrom = "derived-from",
        /// The parent is the model that produced this content.
        GeneratedBy = "generated-by",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_everywhere() {
        for relation in Relation::ALL {
            assert_eq!(relation.as_str().parse::<Relation>().unwrap(), *relation);
            assert_eq!(serde_json::to_string(relation).unwrap(), format!("\"{relation}\""));
        }
        assert!("fine_tuned_from".parse::<Relation>().is_err());
    }
}
