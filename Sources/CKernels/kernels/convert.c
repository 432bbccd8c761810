void CK_VARIANT(ck_widen_f16)(const void *source, float *target, size_t n) {
    const char *bytes = source;
    for (size_t i = 0; i < n; i++) {
        _Float16 x;
        memcpy(&x, bytes + 2 * i, 2);
        target[i] = (float)x;
    }
}

void CK_VARIANT(ck_widen_bf16)(const void *source, float *target, size_t n) {
    const char *bytes = source;
    for (size_t i = 0; i < n; i++) {
        uint16_t high;
        memcpy(&high, bytes + 2 * i, 2);
        uint32_t bits = (uint32_t)high << 16;
        memcpy(target + i, &bits, 4);
    }
}

void CK_VARIANT(ck_widen_f64)(const void *source, float *target, size_t n) {
    const char *bytes = source;
    for (size_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, bytes + 8 * i, 8);
        target[i] = (float)x;
    }
}

void CK_VARIANT(ck_widen_i8)(const void *source, float *target, size_t n) {
    const int8_t *bytes = source;
    for (size_t i = 0; i < n; i++) target[i] = bytes[i];
}

void CK_VARIANT(ck_narrow_f16)(const float *source, void *target, size_t n) {
    char *bytes = target;
    for (size_t i = 0; i < n; i++) {
        _Float16 x = (_Float16)source[i];
        memcpy(bytes + 2 * i, &x, 2);
    }
}

// Adding half a unit of the last kept place, less one where that place is even, carries exactly when rounding goes up.
void CK_VARIANT(ck_narrow_bf16)(const float *source, void *target, size_t n) {
    char *bytes = target;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, source + i, 4);
        uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1)) >> 16;
        uint32_t quiet = (bits >> 16) | 0x40;
        uint16_t high = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
        memcpy(bytes + 2 * i, &high, 2);
    }
}
