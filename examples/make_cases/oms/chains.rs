//! The method `certificate`: chains that lead to the given root, and chains that do not.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countermark::io::keys;
use countermark::lineage::credential::keys::{Algorithm, PrivateKey, signature_to_der};
use countermark::lineage::credential::oms::Bundle;

use super::{DECADES, FOLDER, Forge, good};
use crate::Result;
use crate::certificates::{CERTIFICATE_SIGN, CODE_SIGNING, DIGITAL_SIGNATURE, Template, purpose};

impl Forge {
    pub fn certificates(&mut self) -> Result<()> {
        let [(_, root), (_, middle), (_, leaf), (_, stranger)] =
            [(); 4].map(|()| keys::pkcs8::generate(Algorithm::P256, None).expect("randomness"));
        let signer = |key: std::sync::Arc<dyn PrivateKey>| {
            move |bytes: &[u8]| signature_to_der(Algorithm::P256, &key.sign(bytes).expect("a key in memory"))
        };
        let (by_root, by_middle, by_stranger) =
            (signer(root.clone()), signer(middle.clone()), signer(stranger.clone()));
        let [root_spki, middle_spki, stranger_spki] = [&root, &middle, &stranger].map(|key| key.public().to_spki());
        let authority = |subject, issuer| Template {
            subject,
            issuer,
            valid: DECADES,
            authority: true,
            usage: CERTIFICATE_SIGN,
            extensions: vec![],
        };
        let signing = Template {
            subject: "Fixture signer",
            issuer: "Fixture middle",
            valid: DECADES,
            authority: false,
            usage: DIGITAL_SIGNATURE,
            extensions: vec![purpose(CODE_SIGNING)],
        };
        let root_der = authority("Fixture root", "Fixture root").certificate(&root_spki, &by_root);
        let middle_of = |template: Template<'_>| template.certificate(&middle_spki, &by_root);
        let middle_der = middle_of(authority("Fixture middle", "Fixture root"));
        let spki = leaf.public().to_spki();
        let leaf_of = |template: Template<'_>| template.certificate(&spki, &by_middle);
        fs::write(self.out.join("root.pem"), pem(&root_der))?;
        let false_root = authority("Fixture root", "Fixture root").certificate(&stranger_spki, &by_stranger);
        let not_yet = Template { valid: ("20980101", "20991231"), ..authority("Fixture middle", "Fixture root") };
        let no_authority = Template { authority: false, ..authority("Fixture middle", "Fixture root") };
        let may_not_sign = Template { usage: DIGITAL_SIGNATURE, ..authority("Fixture middle", "Fixture root") };
        let expired = Template { valid: ("20200101", "20200201"), ..signing.clone() };
        let useless = Template { usage: CERTIFICATE_SIGN, extensions: vec![], ..signing.clone() };
        let unknown = crate::certificates::extension(&[0x2a, 3, 4], true, &[5, 0]);
        let critical = Template { extensions: vec![purpose(CODE_SIGNING), unknown], ..signing.clone() };
        let lying = Template { authority: true, subject: "Fixture root", issuer: "Fixture root", ..signing.clone() };
        let forged = signing.certificate(&spki, &by_stranger);
        let good_leaf = leaf_of(signing.clone());
        let chains = [
            (
                "certificate-good",
                "leaf, intermediate and root",
                vec![good_leaf.clone(), middle_der.clone(), root_der.clone()],
                "verified",
                "Fixture signer",
            ),
            (
                "certificate-good-odd-leaf",
                "a leaf that calls itself an authority and bears its issuer's name",
                vec![lying.certificate(&spki, &by_root)],
                "verified",
                "Fixture root",
            ),
            (
                "certificate-expired-leaf",
                "a leaf that expired under a valid authority",
                vec![leaf_of(expired), middle_der.clone()],
                "unknown",
                "expired",
            ),
            (
                "certificate-intermediate-not-yet",
                "an intermediate that is not valid yet",
                vec![good_leaf.clone(), middle_of(not_yet)],
                "unknown",
                "is valid from",
            ),
            (
                "certificate-wrong-root",
                "a root of the same name with another key",
                vec![good_leaf.clone(), false_root],
                "unknown-signer",
                "no given root",
            ),
            (
                "certificate-no-intermediate",
                "the intermediate is missing",
                vec![good_leaf.clone()],
                "unknown-signer",
                "no given root",
            ),
            (
                "certificate-forged",
                "a leaf that its issuer did not sign",
                vec![forged, middle_der.clone()],
                "unknown-signer",
                "no given root",
            ),
            (
                "certificate-no-authority",
                "an intermediate that is no authority",
                vec![good_leaf.clone(), middle_of(no_authority)],
                "invalid",
                "not an authority",
            ),
            (
                "certificate-may-not-sign",
                "an intermediate that may not sign certificates",
                vec![good_leaf.clone(), middle_of(may_not_sign)],
                "invalid",
                "may not sign",
            ),
            (
                "certificate-usage",
                "a leaf that is for neither signatures nor code",
                vec![leaf_of(useless), middle_der.clone()],
                "invalid",
                "neither for digital signatures",
            ),
            (
                "certificate-critical",
                "a critical extension that nobody knows",
                vec![leaf_of(critical), middle_der.clone()],
                "unknown",
                "critical extension",
            ),
        ];
        for (name, story, chain, state, reason) in chains {
            let bundle = Bundle::sign(good().as_bytes(), &*leaf, &chain)?;
            self.write(name, &bundle)?;
            let options =
                [("signature", format!("{FOLDER}/{name}.sig")), ("certificate-root", format!("{FOLDER}/root.pem"))];
            self.push(name, story, "model", &options, state, reason);
        }
        let bundle = Bundle::sign(good().as_bytes(), &*stranger, &[good_leaf, middle_der])?;
        self.write("certificate-of-another-key", &bundle)?;
        let options = [
            ("signature", format!("{FOLDER}/certificate-of-another-key.sig")),
            ("certificate-root", format!("{FOLDER}/root.pem")),
        ];
        self.push(
            "certificate-of-another-key",
            "signed by another key than the leaf's",
            "model",
            &options,
            "invalid",
            "does not fit",
        );
        let options = [("signature", format!("{FOLDER}/certificate-good.sig")), ("key", format!("{FOLDER}/key.pub"))];
        self.push(
            "certificate-verified-as-key",
            "signed under a certificate",
            "model",
            &options,
            "invalid",
            "method key was asked for",
        );
        Ok(())
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..(at + 64).min(text.len())]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
