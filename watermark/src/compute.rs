//! Where the hot loops run: on the processor, or on an NVIDIA GPU. Marked bytes, sums and odds are the same bits.
//!
//! That is so because slot sums are integers, floating-point sums have a fixed order, and the gauge band is worked out
//! on the processor. Matrix products on a GPU round in another order. They are used for the order of hidden units alone,
//! so that a unit between two near-equal places may be told another one, and the `aligned` band may differ a little.

use candle_core::Device;

#[cfg(not(feature = "cuda"))]
use crate::Error;
use crate::Result;

/// A device for embedding and detection; the processor by default.
#[derive(Clone, Debug)]
pub struct Compute(pub(crate) Device);

impl Default for Compute {
    fn default() -> Compute {
        Compute::cpu()
    }
}

impl Compute {
    /// The processor, with as many threads as rayon has.
    pub fn cpu() -> Compute {
        Compute(Device::Cpu)
    }

    /// The device of the tensor library.
    pub fn device(&self) -> &Device {
        &self.0
    }

    /// The NVIDIA GPU of this number, from 0, ready to work.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) when this build has no feature `cuda`, or when no such device, driver or
    /// run-time compiler is found. Whoever can do without goes on with [`Compute::cpu`].
    #[cfg(feature = "cuda")]
    pub fn cuda(number: usize) -> Result<Compute> {
        let device = Device::new_cuda(number).and_then(|device| {
            crate::ops::cuda::prepare(device.as_cuda_device()?)?;
            Ok(device)
        });
        // A candle error may bring a backtrace with it, from the second line on.
        let reason = |error: candle_core::Error| error.to_string().lines().next().unwrap_or_default().to_owned();
        device.map(Compute).map_err(|error| crate::Error::Device { number, reason: reason(error) })
    }

    /// The NVIDIA GPU of this number.
    ///
    /// # Errors
    /// Always [`Error::Device`]: this build has no feature `cuda`.
    #[cfg(not(feature = "cuda"))]
    pub fn cuda(number: usize) -> Result<Compute> {
        Err(Error::Device { number, reason: "this build is without the feature `cuda`".into() })
    }
}
