// Whole numbers for a weight, column by column: what is lost goes into the columns still to come, and a number costs the bits
// that its column's frequencies say. Sixteen rows of the weight at a time, as in gptq.c.

// The bits of a number: those beyond the table cost what its ends do.
INLINE float digits_rate(const float *rates, int limit, int code) {
    return rates[limit + (code > limit ? limit : code < -limit ? -limit : code)];
}

// The whole number nearest to a quotient, within ±(2·largest + 2), which leads from any number beyond any other; 0 for 0/0.
INLINE int digits_apart(float above, float below, int largest) {
    float nearest = __builtin_rintf(above / below), most = (float)(2 * largest + 2);
    return whole_code(nearest > most ? most : nearest < -most ? -most : nearest);
}

// The number near x that is cheapest: its squared distance by `curve` and what its bits cost.
INLINE float digits_choice(float x, float curve, const float *rates, float price, int limit, float most) {
    float nearest = __builtin_rintf(x);
    nearest = nearest > most ? most : nearest < -most ? -most : nearest;
    if (!rates || !(fabsf(nearest) > 0)) return nearest;
    float toward = nearest > 0 ? -1 : 1, best = nearest, least = 0;
    // Nearest, one and two nearer to 0, and 0.
    for (int t = 0; t < 4; t++) {
        float c = t < 3 ? nearest + (float)t * toward : 0;
        if (c * toward > 0) c = 0;
        float cost = (x - c) * (x - c) * curve + price * digits_rate(rates, limit, (int)c);
        if (t == 0 || cost < least) least = cost, best = c;
    }
    return best;
}

void CK_VARIANT(ck_ternary_round)(
    ck_ternary_digits d, const float *weights, const float *ratios, const float *curves, float *errors, int16_t *codes) {
    size_t m = d.rows, n = d.columns;
    for (size_t row = 0; row < m; row += LANES) {
        size_t rows = m - row < LANES ? m - row : LANES;
        for (size_t j = 0; j < n; j++) {
            vector_t own = gptq_load(weights + j * m + row, rows, 0), sum[4] = {own}, e;
            const float *ratio = ratios + j * n;
            size_t i = 0;
            for (; i + 4 <= j; i += 4)
                for (int l = 0; l < 4; l++) {
                    memcpy(&e, errors + (i + l) * LANES, sizeof e);
                    sum[l] += e * ratio[i + l];
                }
            for (; i < j; i++) {
                memcpy(&e, errors + i * LANES, sizeof e);
                sum[0] += e * ratio[i];
            }
            vector_t all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            const float *rates = d.rates ? d.rates + j * (2 * d.limit + 1) : NULL;
            float scale = d.scales[j], reciprocal = 1 / scale;
            for (int l = 0; l < LANES; l++) {
                float c = digits_choice(all[l] * reciprocal, curves[j], rates, d.price, (int)d.limit, (float)d.largest);
                e[l] = own[l] - c * scale;
                if ((size_t)l < rows) codes[(row + l) * n + j] = (int16_t)whole_code(c);
            }
            memcpy(errors + j * LANES, &e, sizeof e);
        }
    }
}

size_t CK_VARIANT(ck_ternary_recode)(
    ck_ternary_digits d, float *restrict gradients, const float *restrict moment, int16_t *restrict codes, int passes) {
    size_t m = d.rows, n = d.columns, changes = 0;
    int limit = (int)d.limit, largest = (int)d.largest;
    for (size_t row = 0; row < m; row++) {
        float *g = gradients + row * n;
        int16_t *own = codes + row * n;
        for (int pass = 0; pass < passes; pass++) {
            size_t before = changes;
            for (size_t j = 0; j < n; j++) {
                // Changing the number by t changes the error by t²·curve − 2·t·slope.
                float scale = d.scales[j], curve = scale * scale * moment[j * n + j], slope = scale * g[j];
                const float *rates = d.rates + j * (2 * d.limit + 1);
                int code = own[j], middle = digits_apart(slope, curve, largest), chosen = code;
                float least = -1e-5f * curve;
                for (int candidate = 0; candidate < 4; candidate++) {
                    int c = candidate < 3 ? code + middle + candidate - 1 : 0;
                    if (c > largest || c < -largest) continue;
                    float bits = digits_rate(rates, limit, c) - digits_rate(rates, limit, code);
                    float t = (float)(c - code), cost = t * (t * curve - 2 * slope) + d.price * bits;
                    if (cost < least) least = cost, chosen = c;
                }
                if (chosen == code) continue;
                float step = (float)(chosen - code) * scale;
                const float *h = moment + j * n;
                for (size_t l = 0; l < n; l++) g[l] -= step * h[l];
                own[j] = (int16_t)chosen;
                changes++;
            }
            if (changes == before) break;
        }
    }
    return changes;
}
