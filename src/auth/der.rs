//! Just enough DER to find the numbers of an RSA key.
//!
//! Nothing here decides that a key is sound: aws-lc does, after this has found out what it is and how big.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// A key with the kind of key it says it is: `(object identifier, key)`.
pub(super) type Labelled<'a> = (&'a [u8], &'a [u8]);

/// The modulus and the exponent, big-endian without leading zeros.
pub(super) type Numbers<'a> = (&'a [u8], &'a [u8]);

/// `SubjectPublicKeyInfo`, RFC 5280 section 4.1.
pub(super) fn subject_public_key_info(der: &[u8]) -> Option<Labelled<'_>> {
    let mut fields = whole(der)?;
    let kind = take(&mut take(&mut fields, SEQUENCE)?, OBJECT_IDENTIFIER)?;
    let (unused_bits, key) = take(&mut fields, BIT_STRING)?.split_first()?;
    (*unused_bits == 0 && fields.is_empty()).then_some((kind, key))
}

/// `PrivateKeyInfo`, RFC 5208 section 5; attributes after the key are ignored.
pub(super) fn private_key_info(der: &[u8]) -> Option<Labelled<'_>> {
    let mut fields = whole(der)?;
    take(&mut fields, INTEGER)?;
    let kind = take(&mut take(&mut fields, SEQUENCE)?, OBJECT_IDENTIFIER)?;
    Some((kind, take(&mut fields, OCTET_STRING)?))
}

/// `RSAPublicKey`, RFC 8017 appendix A.1.1.
pub(super) fn rsa_public_key(der: &[u8]) -> Option<Numbers<'_>> {
    let mut fields = whole(der)?;
    numbers(&mut fields)
}

/// `RSAPrivateKey`, RFC 8017 appendix A.1.2: a version, then as the public key.
pub(super) fn rsa_private_key(der: &[u8]) -> Option<Numbers<'_>> {
    let mut fields = whole(der)?;
    take(&mut fields, INTEGER)?;
    numbers(&mut fields)
}

fn numbers<'a>(fields: &mut &'a [u8]) -> Option<Numbers<'a>> {
    let modulus = take(fields, INTEGER)?;
    let exponent = take(fields, INTEGER)?;
    Some((without_zeros(modulus), without_zeros(exponent)))
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// The content of a sequence that nothing follows.
fn whole(mut der: &[u8]) -> Option<&[u8]> {
    let content = take(&mut der, SEQUENCE)?;
    der.is_empty().then_some(content)
}

/// Takes the next element off the front, which must have this tag.
fn take<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&found, rest) = der.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let length = match length {
        ..=0x7f => usize::from(length),
        // The length of the length; three bytes are more than a key file may have.
        0x81..=0x83 => {
            let (bytes, after) = rest.split_at_checked(usize::from(length - 0x80))?;
            rest = after;
            bytes
                .iter()
                .fold(0, |length, byte| (length << 8) | usize::from(*byte))
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    *der = rest;
    (found == tag).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_public_key_are_found() {
        let der = [0x30, 7, 2, 2, 0, 0x8f, 2, 1, 3];

        assert_eq!(rsa_public_key(&der), Some((&[0x8f][..], &[3][..])));
    }

    #[test]
    fn a_long_length_is_read() {
        let mut der = vec![0x30, 0x82, 0x01, 0x07, 2, 0x82, 0x01, 0x00];
        der.extend([0x8f; 256]);
        der.extend([2, 1, 3]);

        let (modulus, exponent) = rsa_public_key(&der).unwrap();

        assert_eq!((modulus.len(), exponent), (256, &[3][..]));
    }

    #[test]
    fn every_cut_and_every_byte_more_is_refused() {
        let mut der = vec![0x30, 7, 2, 2, 0, 0x8f, 2, 1, 3];

        for length in 0..der.len() {
            assert_eq!(rsa_public_key(&der[..length]), None, "{length} bytes");
        }
        der.push(0);
        assert_eq!(rsa_public_key(&der), None);
    }

    #[test]
    fn a_length_beyond_the_input_is_refused() {
        for der in [
            &[0x30, 0x83, 0xff, 0xff, 0xff, 2][..],
            &[0x30, 0x84, 0, 0, 0, 1, 2],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0xff],
        ] {
            assert_eq!(rsa_public_key(der), None, "{der:x?}");
        }
    }
}
