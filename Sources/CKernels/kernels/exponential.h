// e^x for x in [−87, 88] (clamped outside), to 2 units in the last place: 2^n·p(r) with n = ⌊x/ln 2⌉, r = x − n·ln 2 and p the
// degree-6 Taylor polynomial, whose remainder on |r| ≤ ln 2/2 is below 2^-24. Written so that a loop over it vectorizes.
INLINE float ck_exp(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float shift = 12582912.0f;  // 1.5·2^23: adding and subtracting it rounds to the nearest integer
    float n = (x * 1.44269504f + shift) - shift;
    float r = x - n * 0.693145752f;
    r -= n * 1.42860677e-6f;
    float p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    // Adding it once more puts n, whole, into the lowest bits; the other bits are shifted out. A conversion of n to an integer
    // would take as long, and is not defined for NaN, which p is here, whatever power it is multiplied by.
    float shifted = n + shift;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return p * power;
}
