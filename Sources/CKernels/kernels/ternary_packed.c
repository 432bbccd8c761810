// 64 bits from bit b on; rows begin at any bit, which costs two shifts per 64 entries and saves the padding.
INLINE uint64_t bits(const uint8_t *plane, size_t b) {
    uint64_t low;
    memcpy(&low, plane + (b >> 3), 8);
    unsigned shift = b & 7;
    uint64_t word = low >> shift;
    if (shift) word |= (uint64_t)plane[(b >> 3) + 8] << (64 - shift);
    return word;
}

// The same without what lies beyond the next `left` entries.
INLINE uint64_t entries(const uint8_t *mask, size_t e, size_t left) {
    uint64_t word = bits(mask, e);
    return left < 64 ? word & ((1ull << left) - 1) : word;
}

INLINE const uint8_t *signs_of(const uint8_t *packed, size_t count) {
    return packed + (count + 7) / 8;
}

void CK_VARIANT(ck_ternary_pack)(const float *t, size_t count, uint8_t *packed) {
    uint8_t *signs = packed + (count + 7) / 8;
    size_t nonzeros = 0;
    for (size_t e = 0; e < count; e += 64) {
        size_t left = count - e < 64 ? count - e : 64;
        uint64_t positive, negative;
        sign_masks(t + e, left, &positive, &negative);
        uint64_t word = positive | negative;
        // Bit e of the plane is bit e & 7 of its byte, as in a little-endian word.
        memcpy(packed + (e >> 3), &word, (left + 7) / 8);
        for (; word; word &= word - 1, nonzeros++) {
            uint64_t isNegative = negative >> __builtin_ctzll(word) & 1;
            signs[nonzeros >> 3] |= (uint8_t)(isNegative << (nonzeros & 7));
        }
    }
}

void CK_VARIANT(ck_ternary_unpack)(const uint8_t *packed, size_t count, float *t) {
    const uint8_t *signs = signs_of(packed, count);
    size_t nonzeros = 0;
    for (size_t e = 0; e < count; e += 64) {
        uint64_t word = entries(packed, e, count - e), sign = bits(signs, nonzeros);
        nonzeros += (size_t)__builtin_popcountll(word);
        memset(t + e, 0, (count - e < 64 ? count - e : 64) * sizeof(float));
        for (; word; word &= word - 1, sign >>= 1) t[e + (size_t)__builtin_ctzll(word)] = sign & 1 ? -1.0f : 1.0f;
    }
}

size_t CK_VARIANT(ck_ternary_count)(const uint8_t *packed, size_t count) {
    size_t total = 0;
    for (size_t e = 0; e < count; e += 64) total += (size_t)__builtin_popcountll(entries(packed, e, count - e));
    return total;
}

_Static_assert(CK_TERNARY_LANES == LANES, "a column to a lane");
typedef uint32_t lane_bits __attribute__((vector_size(4 * CK_TERNARY_LANES), aligned(4), may_alias));

// sum += or -= the next entry's lanes of x: bit j of `sign`, moved to the sign's place, turns them round. A macro, since a
// function cannot take vectors wider than the baseline's registers.
#define ADD_NEXT(sum, sign, j) \
    do { \
        lane_bits turned = ((const lane_bits *)block)[__builtin_ctzll(word)] ^ (((sign) << (31 - (j))) & 0x80000000u); \
        sum += (lane16)turned; \
        word &= word - 1; \
    } while (0)

void CK_VARIANT(ck_ternary_apply)(const uint8_t *packed, size_t rows, size_t columns, const float *x, float *y) {
    const uint8_t *signs = signs_of(packed, rows * columns);
    size_t position = 0;
    for (size_t i = 0; i < rows; i++) {
        // Two sums, taken alternately: an addition need not wait for the one before.
        lane16 even = {0}, odd = {0};
        for (size_t c = 0; c < columns; c += 64) {
            uint64_t word = entries(packed, i * columns + c, columns - c), sign = bits(signs, position);
            size_t left = (size_t)__builtin_popcountll(word);
            position += left;
            const lane16 *block = (const lane16 *)(x + c * CK_TERNARY_LANES);
            // In fours, since what costs most is a loop's end that the processor did not foresee.
            for (; left >= 4; left -= 4, sign >>= 4) {
                lane_bits four = (lane_bits){0} + (uint32_t)sign;
                ADD_NEXT(even, four, 0);
                ADD_NEXT(odd, four, 1);
                ADD_NEXT(even, four, 2);
                ADD_NEXT(odd, four, 3);
            }
            lane_bits last = (lane_bits){0} + (uint32_t)sign;
            if (left & 2) {
                ADD_NEXT(even, last, 0);
                ADD_NEXT(odd, last, 1);
                last >>= 2;
            }
            if (left & 1) ADD_NEXT(even, last, 0);
        }
        *(lane16 *)(y + i * CK_TERNARY_LANES) = even + odd;
    }
}
