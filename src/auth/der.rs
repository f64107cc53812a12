//! Just enough DER to tell the kind of a key, and to read and write the numbers of an RSA key.
//!
//! Nothing here decides that a key is sound: aws-lc does, after this has found out what it is and how big.

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;

/// A key with the kind of key it says it is.
pub(super) struct KeyInfo<'a> {
    /// An object identifier.
    pub(super) kind: &'a [u8],
    /// What stands behind the object identifier, such as the name of a curve.
    pub(super) parameters: &'a [u8],
    pub(super) key: &'a [u8],
}

/// The modulus and the exponent, big-endian without leading zeros.
pub(super) type Numbers<'a> = (&'a [u8], &'a [u8]);

/// `SubjectPublicKeyInfo`, RFC 5280 section 4.1.
pub(super) fn subject_public_key_info(der: &[u8]) -> Option<KeyInfo<'_>> {
    let mut fields = whole(der)?;
    let mut parameters = take(&mut fields, SEQUENCE)?;
    let kind = take(&mut parameters, OBJECT_IDENTIFIER)?;
    let (unused_bits, key) = take(&mut fields, BIT_STRING)?.split_first()?;
    (*unused_bits == 0 && fields.is_empty()).then_some(KeyInfo {
        kind,
        parameters,
        key,
    })
}

/// `PrivateKeyInfo`, RFC 5208 section 5; attributes after the key are ignored.
pub(super) fn private_key_info(der: &[u8]) -> Option<KeyInfo<'_>> {
    let mut fields = whole(der)?;
    take(&mut fields, INTEGER)?;
    let mut parameters = take(&mut fields, SEQUENCE)?;
    let kind = take(&mut parameters, OBJECT_IDENTIFIER)?;
    Some(KeyInfo {
        kind,
        parameters,
        key: take(&mut fields, OCTET_STRING)?,
    })
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

/// `RSAPublicKey` of two big-endian numbers.
pub(super) fn write_rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[integer(modulus), integer(exponent)].concat())
}

fn integer(number: &[u8]) -> Vec<u8> {
    let number = without_zeros(number);
    // The first bit is the sign, and zero has a byte as well.
    let sign: &[u8] = match number.first() {
        Some(..=0x7f) => &[],
        _ => &[0],
    };
    element(INTEGER, &[sign, number].concat())
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = without_zeros(&length);
    match length {
        [] => vec![tag, 0],
        [short @ ..=0x7f] => [&[tag, *short], content].concat(),
        long => [&[tag, 0x80 | long.len() as u8], long, content].concat(),
    }
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
    fn numbers_are_written_as_they_are_read() {
        for (modulus, exponent) in [
            (&[0x8f][..], &[3][..]),
            (&[0x7f; 125], &[1, 0, 1]),
            (&[0xff; 200], &[0x80]),
            (&[1; 300], &[1, 0, 1]),
            (&[0xa5; 70_000], &[]),
        ] {
            let der = write_rsa_public_key(modulus, exponent);
            assert_eq!(rsa_public_key(&der), Some((modulus, exponent)));
        }
        let canonical = [0x30, 7, 2, 2, 0, 0x8f, 2, 1, 3];
        assert_eq!(write_rsa_public_key(&[0, 0, 0x8f], &[3]), canonical);
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
