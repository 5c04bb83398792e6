//! Names and values as they lie in a guest's memory: how many, the length of each, and then all of them with a zero behind
//! each. Numbers are 32 bits, little endian.

/// Writes pairs down.
pub(crate) fn encode(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let length = pairs.iter().map(|(name, value)| name.len() + value.len() + 10).sum::<usize>() + 4;
    let mut bytes = Vec::with_capacity(length);
    let number = |bytes: &mut Vec<u8>, number: usize| bytes.extend_from_slice(&(number as u32).to_le_bytes());
    number(&mut bytes, pairs.len());
    for (name, value) in pairs {
        number(&mut bytes, name.len());
        number(&mut bytes, value.len());
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend_from_slice(text);
        bytes.push(0);
    }
    bytes
}

/// Reads pairs; none if they are not what their lengths say. No bytes are no pairs.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let count = number(0)?;
    // Each takes ten bytes at least, so that a false count costs no memory.
    if count > bytes.len() / 10 {
        return None;
    }
    let mut at = 4 + count * 8;
    let mut take = |length: usize| {
        let text = bytes.get(at..at.checked_add(length)?)?;
        at += length + 1;
        Some(text)
    };
    (0..count).map(|pair| Some((take(number(4 + pair * 8)?)?, take(number(8 + pair * 8)?)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for pairs in [vec![], vec![("a", "b")], vec![(":path", "/"), ("x", ""), ("x", "2")]] {
            let owned: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
            let read = encode(&owned);
            let read = decode(&read).unwrap();
            let expected: Vec<_> = pairs.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn what_is_no_list_of_pairs() {
        for bytes in [
            &[1][..],
            &[1, 0, 0, 0],
            &[255, 255, 255, 255, 1, 0, 0, 0],
            &[1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, b'a', 0],
            &[1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, b'a', 0],
        ] {
            assert_eq!(decode(bytes), None, "{bytes:?}");
        }
        assert_eq!(decode(&[]), Some(vec![]));
    }
}
