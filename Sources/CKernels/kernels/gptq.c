// The inner loop of GPTQ, sixteen rows of the weight at a time: a column's part is a vector, and its error one more.

// So many rows; the rest of the vector is `rest`.
INLINE vector_t gptq_load(const float *source, size_t rows, float rest) {
    vector_t v;
    if (rows == LANES) {
        memcpy(&v, source, sizeof v);
        return v;
    }
    for (size_t l = 0; l < LANES; l++) v[l] = l < rows ? source[l] : rest;
    return v;
}

void CK_VARIANT(ck_gptq_columns)(
    ck_gptq_block b, ck_quantizer q, int16_t *codes, const int32_t *columns, float *errors, size_t begin, size_t end) {
    vector_t w[CK_GPTQ_COLUMNS];
    float least = q.symmetric ? -symmetric_levels(q.bits) - 1 : 0;
    float most = q.symmetric ? symmetric_levels(q.bits) : asymmetric_levels(q.bits);
    for (size_t row = begin; row < end; row += LANES) {
        size_t rows = end - row < LANES ? end - row : LANES;
        for (size_t i = 0; i < b.count; i++) w[i] = gptq_load(b.weights + i * b.rows + row, rows, 0);
        for (size_t i = 0; i < b.count; i++) {
            size_t grid = (size_t)b.groups[i] * b.rows + row;
            vector_t scale = gptq_load(b.scales + grid, rows, 1), zero = gptq_load(b.zeros + grid, rows, 0);
            vector_t original = gptq_load(b.original + i * b.rows + row, rows, 0), e;
            int16_t code[LANES];
            for (int l = 0; l < LANES; l++) {
                grid_t k = {scale[l], zero[l], least, most};
                float c = code_of(w[i][l], k);
                code[l] = (int16_t)whole_code(c);
                e[l] = original[l] - value_of(c, k);
            }
            memcpy(codes + (size_t)columns[i] * b.rows + row, code, rows * sizeof *code);
            memcpy(errors + i * b.rows + row, &e, rows * sizeof *errors);
            const float *ratios = b.ratios + i * b.count;
            for (size_t j = i + 1; j < b.count; j++) w[j] += e * ratios[j];
        }
    }
}
