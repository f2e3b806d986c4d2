//! Natural numbers of any size, as far as reading and writing floats needs them.

/// A natural number of any size: 64-bit limbs, the least significant first, the last one not zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Natural(Vec<u64>);

impl From<u64> for Natural {
    fn from(limb: u64) -> Self {
        let mut number = Self(vec![limb]);
        number.trim();
        number
    }
}

impl Natural {
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    /// Position of the top bit, counted from 1; 0 for zero.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let limbs = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let unused = self.0.last().map_or(0, |limb| limb.leading_zeros());
        limbs * 64 - unused
    }

    /// Multiplies, then adds.
    pub fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = u128::from(addend);
        for limb in &mut self.0 {
            carry += u128::from(*limb) * u128::from(factor);
            *limb = carry as u64;
            carry >>= 64;
        }
        self.0.push(carry as u64);
        self.trim();
    }

    /// Multiplies by 10^`power`.
    pub fn multiply_by_power_of_ten(&mut self, power: u32) {
        let mut left = power;
        while left > 0 {
            let step = left.min(19);
            self.multiply_add(10_u64.pow(step), 0);
            left -= step;
        }
    }

    /// Multiplies by 2^`bits`.
    pub fn shift_left(&mut self, bits: u32) {
        self.multiply_add(1 << (bits % 64), 0);
        if !self.0.is_empty() {
            self.0.splice(0..0, (0..bits / 64).map(|_| 0));
        }
    }

    fn is_at_least(&self, other: &Self) -> bool {
        let size = |number: &Self| number.0.len();
        size(self)
            .cmp(&size(other))
            .then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
            .is_ge()
    }

    /// Subtracts what is not greater.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        let others = other.0.iter().chain(std::iter::repeat(&0));
        for (limb, other) in self.0.iter_mut().zip(others) {
            let (difference, under) = limb.overflowing_sub(*other);
            let (difference, under_too) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = under || under_too;
        }
        self.trim();
    }

    /// The number as (its leading 128 bits, the power of two they count, whether bits below are
    /// set).
    #[must_use]
    pub fn leading_bits(&self) -> (u128, i32, bool) {
        let dropped = self.bits().saturating_sub(128);
        let (limbs, bits) = ((dropped / 64) as usize, dropped % 64);
        let limb = |index: usize| u128::from(self.0.get(index).copied().unwrap_or(0));
        let below = limb(limbs) & ((1 << bits) - 1);
        let low = (limb(limbs) | limb(limbs + 1) << 64) >> bits;
        let high = limb(limbs + 2).checked_shl(128 - bits).unwrap_or(0);
        let inexact = below != 0 || self.0.iter().take(limbs).any(|limb| *limb != 0);
        (low | high, dropped.cast_signed(), inexact)
    }

    /// The quotient of two positive numbers in the form of [`Self::leading_bits`], to at least 99
    /// bits.
    #[must_use]
    pub fn divide(mut self, mut divisor: Self) -> (u128, i32, bool) {
        const BITS: i32 = 100;
        let (own, others) = (self.bits(), divisor.bits());
        self.shift_left(others.saturating_sub(own));
        divisor.shift_left(own.saturating_sub(others));
        let mut quotient = 0;
        for _ in 0..BITS {
            quotient <<= 1;
            if self.is_at_least(&divisor) {
                self.subtract(&divisor);
                quotient |= 1;
            }
            self.shift_left(1);
        }
        let exponent = own.cast_signed() - others.cast_signed() - (BITS - 1);
        (quotient, exponent, self.bits() != 0)
    }

    /// The decimal digits.
    #[must_use]
    pub fn into_decimal(mut self) -> String {
        const CHUNK: u64 = 10_u64.pow(19);
        let mut chunks = Vec::new();
        while self.bits() > 0 {
            let mut rest = 0_u128;
            for limb in self.0.iter_mut().rev() {
                let wide = rest << 64 | u128::from(*limb);
                *limb = (wide / u128::from(CHUNK)) as u64;
                rest = wide % u128::from(CHUNK);
            }
            self.trim();
            chunks.push(rest as u64);
        }
        let mut text = chunks.pop().unwrap_or(0).to_string();
        for chunk in chunks.iter().rev() {
            text.push_str(&format!("{chunk:019}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn power_of_ten(power: u32) -> Natural {
        let mut number = Natural::from(1);
        number.multiply_by_power_of_ten(power);
        number
    }

    #[test]
    fn digits_come_back() {
        for power in [0, 1, 19, 20, 38, 100, 4931] {
            let expect = format!("1{}", "0".repeat(power as usize));
            assert_eq!(power_of_ten(power).into_decimal(), expect);
        }
        assert_eq!(Natural::from(0).into_decimal(), "0");
    }

    #[test]
    fn leading_bits_say_what_they_drop() {
        let mut number = Natural::from(5);
        for (shift, expect) in [
            (0, (5, 0, false)),
            (125, (5 << 125, 0, false)),
            (1, (5 << 125, 1, false)),
            (66, (5 << 125, 67, false)),
        ] {
            number.shift_left(shift);
            assert_eq!(number.leading_bits(), expect, "{shift}");
        }
        number.multiply_add(1, 1);
        assert_eq!(number.leading_bits(), (5 << 125, 67, true));
    }

    #[test]
    fn quotients_are_cut_after_a_hundred_bits() {
        let third = (1_u128 << 101) / 3;
        let mut divisor = power_of_ten(40);
        divisor.multiply_add(3, 0);
        assert_eq!(power_of_ten(40).divide(divisor), (third, -101, true));
        assert_eq!(
            power_of_ten(40).divide(power_of_ten(40)),
            (1 << 99, -99, false)
        );
    }
}
