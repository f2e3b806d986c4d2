//! The arithmetic of HINCRBYFLOAT: the 80-bit extended floats of x86-64, in software.
//!
//! Redis adds in C's `long double` and prints 17 decimals without trailing zeros; what a client
//! reads therefore depends on that type's 64-bit mantissa (`1234.56 + 0.1` gives
//! `1234.66000000000000003`). Done here in integers, it is the same on every platform and every
//! replica.

use std::fmt;

use super::natural::Natural;

/// Longest text that is read as a number, in bytes, as in Redis. Whatever is written is shorter.
const TEXT_BYTES: usize = 5 * 1024 - 1;
/// The greatest power of two of a leading bit, plus one.
const EXPONENT_LIMIT: i32 = 16384;
/// The power of two of the smallest number's only bit.
const EXPONENT_MIN: i32 = -16445;
/// Ten to the number of decimals that are printed.
const DECIMALS: u128 = 10_u128.pow(17);
/// Below or above this power of ten no text of [`TEXT_BYTES`] is in range.
const SCALE_LIMIT: i32 = 10_200;

/// A finite extended float: ±`mantissa` × 2^`exponent`, the mantissa's top bit set unless it is
/// zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    mantissa: u64,
    exponent: i32,
}

/// Why a text is no finite float.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoNumber {
    /// It is no number, or out of range.
    Unreadable,
    /// It says infinity.
    Infinite,
}

impl LongDouble {
    /// Zero; there is only one.
    pub const ZERO: Self = Self {
        negative: false,
        mantissa: 0,
        exponent: 0,
    };

    /// Reads what C's `strtold` reads, without blanks and NaN: decimal or, after `0x`, hexadecimal.
    ///
    /// # Errors
    /// The text is not a finite number in range, nonzero when its digits are.
    pub fn parse(text: &[u8]) -> Result<Self, NoNumber> {
        let (negative, magnitude) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if magnitude.eq_ignore_ascii_case(b"inf") || magnitude.eq_ignore_ascii_case(b"infinity") {
            return Err(NoNumber::Infinite);
        }
        if text.len() > TEXT_BYTES {
            return Err(NoNumber::Unreadable);
        }
        let number = match magnitude {
            [b'0', b'x' | b'X', rest @ ..] => {
                Digits::parse(rest, 16).and_then(|digits| digits.times_power_of_two(negative))
            }
            _ => {
                Digits::parse(magnitude, 10).and_then(|digits| digits.times_power_of_ten(negative))
            }
        };
        number.ok_or(NoNumber::Unreadable)
    }

    /// The sum, rounded to the nearest float, ties to even; `None` when it is infinite.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        if self.mantissa == 0 {
            return Some(other);
        }
        if other.mantissa == 0 {
            return Some(self);
        }
        let by_size = |number: &Self| (number.exponent, number.mantissa);
        let large = std::cmp::max_by_key(self, other, by_size);
        let small = std::cmp::min_by_key(self, other, by_size);
        // 62 bits of room below the mantissa, two above.
        let wide = |number: Self| u128::from(number.mantissa) << 62;
        let exponent = large.exponent - 62;
        let (addend, inexact) = shift_right(wide(small), large.exponent.abs_diff(small.exponent));
        let sum = if large.negative == small.negative {
            wide(large) + addend
        } else {
            wide(large) - addend - u128::from(inexact)
        };
        Self::round(large.negative, sum, exponent, inexact)
    }

    /// ±`wide` × 2^`exponent`, and a little more when `inexact`, as the nearest float; `None` out
    /// of range. When inexact, `wide` has to have more than 65 significant bits.
    fn round(negative: bool, wide: u128, exponent: i32, inexact: bool) -> Option<Self> {
        if wide == 0 {
            return Some(Self::ZERO);
        }
        let lead = wide.leading_zeros();
        let aligned = wide << lead;
        let mut exponent = exponent - lead.cast_signed() + 64;
        let mut mantissa = (aligned >> 64) as u64;
        let rest = aligned as u64;
        let half = 1 << 63;
        if rest > half || rest == half && (inexact || mantissa % 2 == 1) {
            mantissa = mantissa.wrapping_add(1);
            if mantissa == 0 {
                mantissa = 1 << 63;
                exponent += 1;
            }
        }
        // Numbers near the lower limit keep all their bits: none of them shows in 17 decimals.
        let top = exponent + 63;
        let rounds_up_to_limit = top == EXPONENT_MIN - 1 && mantissa > half;
        let in_range = (EXPONENT_MIN..EXPONENT_LIMIT).contains(&top) || rounds_up_to_limit;
        in_range.then_some(Self {
            negative,
            mantissa,
            exponent,
        })
    }
}

impl fmt::Display for LongDouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        if self.exponent >= 0 {
            let mut integer = Natural::from(self.mantissa);
            integer.shift_left(self.exponent.unsigned_abs());
            return write!(f, "{sign}{}", integer.into_decimal());
        }
        let scaled = u128::from(self.mantissa) * DECIMALS;
        let rounded = shift_right_to_nearest(scaled, self.exponent.unsigned_abs());
        let (integer, fraction) = (rounded / DECIMALS, rounded % DECIMALS);
        if rounded == 0 {
            f.write_str("0")
        } else if fraction == 0 {
            write!(f, "{sign}{integer}")
        } else {
            let decimals = format!("{fraction:017}");
            write!(f, "{sign}{integer}.{}", decimals.trim_end_matches('0'))
        }
    }
}

/// The digits of a number as read: `digits` × its radix's power of `scale`.
struct Digits {
    digits: Natural,
    scale: i32,
}

impl Digits {
    /// `digits[.digits][e exponent]`; a hexadecimal exponent is marked by `p` and is one of two.
    fn parse(text: &[u8], radix: u32) -> Option<Self> {
        let (marker, digit_scale) = if radix == 16 { (b'p', 4) } else { (b'e', 1) };
        let is_marker = |byte: &u8| byte.eq_ignore_ascii_case(&marker);
        let (text, mut scale) = match text.iter().position(is_marker) {
            Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let mut digits = Natural::from(0);
        // As many digits at a time as a limb takes: each step goes through the whole number.
        let (mut some, mut factor) = (0, 1);
        let (mut seen_digit, mut seen_point) = (false, false);
        for byte in text {
            if *byte == b'.' && !seen_point {
                seen_point = true;
                continue;
            }
            let digit = char::from(*byte).to_digit(radix)?;
            some = some * u64::from(radix) + u64::from(digit);
            factor *= u64::from(radix);
            if factor >= 1 << 56 {
                digits.multiply_add(factor, some);
                (some, factor) = (0, 1);
            }
            seen_digit = true;
            scale -= if seen_point { digit_scale } else { 0 };
        }
        digits.multiply_add(factor, some);
        seen_digit.then_some(Self { digits, scale })
    }

    fn times_power_of_two(self, negative: bool) -> Option<LongDouble> {
        let (wide, exponent, inexact) = self.digits.leading_bits();
        LongDouble::round(negative, wide, self.scale + exponent, inexact)
    }

    fn times_power_of_ten(mut self, negative: bool) -> Option<LongDouble> {
        if self.digits.bits() == 0 {
            return Some(LongDouble::ZERO);
        }
        if self.scale.abs() > SCALE_LIMIT {
            return None;
        }
        if self.scale >= 0 {
            self.digits
                .multiply_by_power_of_ten(self.scale.unsigned_abs());
            let (wide, exponent, inexact) = self.digits.leading_bits();
            return LongDouble::round(negative, wide, exponent, inexact);
        }
        let mut divisor = Natural::from(1);
        divisor.multiply_by_power_of_ten(self.scale.unsigned_abs());
        let (wide, exponent, inexact) = self.digits.divide(divisor);
        LongDouble::round(negative, wide, exponent, inexact)
    }
}

/// A decimal exponent, cut to where it is out of range anyway.
fn parse_exponent(text: &[u8]) -> Option<i32> {
    let digits = match text {
        [b'-' | b'+', rest @ ..] => rest,
        _ => text,
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0_i32, |size, digit| {
        (size * 10 + i32::from(digit - b'0')).min(100_000)
    });
    Some(if text.starts_with(b"-") { -size } else { size })
}

/// `wide` / 2^`bits`, and whether a remainder was dropped.
fn shift_right(wide: u128, bits: u32) -> (u128, bool) {
    let shifted = wide.checked_shr(bits).unwrap_or(0);
    (shifted, shifted.checked_shl(bits).unwrap_or(0) != wide)
}

/// `wide` / 2^`bits`, `bits` being positive, ties to even.
fn shift_right_to_nearest(wide: u128, bits: u32) -> u128 {
    let (doubled, inexact) = shift_right(wide, bits - 1);
    let (floor, odd) = (doubled / 2, doubled % 2 == 1);
    floor + u128::from(odd && (inexact || floor % 2 == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums as Redis 7.0.15 on x86-64 gives them.
    #[test]
    fn sums_read_as_in_redis() {
        let cases = [
            ("0.1", "0.2", "0.3"),
            ("10.5", "0.1", "10.6"),
            ("3.0", "1.1", "4.1"),
            ("5.0e3", "2.0e2", "5200"),
            ("99.95", "0.05", "100"),
            ("200.1", "0.1", "200.20000000000000001"),
            ("1234.56", "0.1", "1234.66000000000000003"),
            ("1000000", "0.1", "1000000.10000000000002274"),
            ("12345.678", "1.1", "12346.77799999999999958"),
            ("-0.1", "0.1", "0"),
            ("-0", "0", "0"),
            ("1", "-1e-20", "1"),
            ("0", "-1e-20", "0"),
            ("1.", "+.5", "1.5"),
            ("0x10", "0x1.8p-3", "16.1875"),
            ("1e22", "1", "10000000000000000000000"),
            ("18446744073709551615", "1", "18446744073709551616"),
            ("-18446744073709551617", "0", "-18446744073709551616"),
            ("0e999999999999", "2", "2"),
            // The smallest number is 3.6e-4951; more than half of it is rounded up.
            ("1.9e-4951", "2", "2"),
        ];
        for (a, b, expect) in cases {
            let read = |text: &str| LongDouble::parse(text.as_bytes()).expect(text);
            let sum = read(a).checked_add(read(b)).expect("finite");
            assert_eq!(sum.to_string(), expect, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        let long = "1".repeat(TEXT_BYTES + 1);
        let unreadable = [
            "",
            "-",
            ".",
            "e1",
            "1e",
            "1e+",
            "1 ",
            " 1",
            "1.2.3",
            "nan",
            "0x",
            "0x.p1",
            "--1",
            "1e5000",
            "1e-5000",
            "1.8e-4951",
            "1e4933",
            "1e99999999999",
            &long,
        ];
        for text in unreadable {
            let read = LongDouble::parse(text.as_bytes());
            assert_eq!(read, Err(NoNumber::Unreadable), "{text}");
        }
        for text in ["inf", "-INF", "+Infinity"] {
            let read = LongDouble::parse(text.as_bytes());
            assert_eq!(read, Err(NoNumber::Infinite), "{text}");
        }
    }

    #[test]
    fn long_texts_are_read_as_far_as_redis_does() {
        let sum = |text: &str| {
            let read = LongDouble::parse(text.as_bytes()).expect("in range");
            read.checked_add(LongDouble::ZERO)
                .expect("finite")
                .to_string()
        };
        let padded = |length: usize| "0".repeat(length - 3) + "123";
        for length in [255, 256, 300, 4933, TEXT_BYTES] {
            assert_eq!(sum(&padded(length)), "123", "{length}");
        }
        let thirds = format!("0.{}", "3".repeat(TEXT_BYTES - 2));
        assert_eq!(sum(&thirds), sum("0.333333333333333333333"));
        // Far more digits than a float has, and an exponent that makes up for them.
        let shifted = format!("0.{}7e4500", "0".repeat(4499));
        assert_eq!(sum(&shifted), "7");
        let shifted = format!("7{}e-5000", "0".repeat(5000));
        assert_eq!(sum(&shifted), "7");
        for written in ["1e300", "1e4932", "1.5e-4932"] {
            let written = sum(written);
            assert_eq!(sum(&written), written);
        }
    }

    #[test]
    fn the_greatest_number_doubled_is_infinite() {
        let text = "1.18973149535723176502e4932";
        let greatest = LongDouble::parse(text.as_bytes()).expect("in range");
        assert_eq!(greatest.to_string().len(), 4933);
        assert_eq!(greatest.checked_add(greatest), None);
        let negative = LongDouble {
            negative: true,
            ..greatest
        };
        assert_eq!(greatest.checked_add(negative), Some(LongDouble::ZERO));
    }

    /// Integers below 2^64 are exact; 64-bit arithmetic is the oracle.
    #[test]
    fn integers_are_exact() {
        let numbers = [0, 1, -1, 7, 10_i128.pow(18), -(1 << 62), i64::MAX.into()];
        for a in numbers {
            for b in numbers {
                let read = |n: i128| LongDouble::parse(n.to_string().as_bytes()).expect("integer");
                let sum = read(a).checked_add(read(b)).expect("finite");
                assert_eq!(sum.to_string(), (a + b).to_string());
            }
        }
    }
}
