// Coordinate descent in which of four neighbors at most two are not 0. Neighbors are the entries 4g … 4g + 3 of a row, or those
// of four rows in one column.
enum { NEIGHBORS = 4, MOST = 2 };

typedef struct {
    float *u, *h;
    size_t k, first, total; // rows before this one, and rows in all
    const float *s, *gram;
    size_t ld;
    int across;
} sparse_t;

// The neighbors of entry j of row i: how many, and the first one's place from u; each next is *stride on.
INLINE size_t neighbors(const sparse_t *p, size_t i, size_t j, ptrdiff_t *start, size_t *stride) {
    size_t place = p->across ? p->first + i : j, length = p->across ? p->total : p->k, group = place / NEIGHBORS * NEIGHBORS;
    *stride = p->across ? p->k : 1;
    *start = (ptrdiff_t)(i * p->k + j) - (ptrdiff_t)((place - group) * *stride);
    return length - group < NEIGHBORS ? length - group : NEIGHBORS;
}

INLINE size_t count_neighbors(const sparse_t *p, ptrdiff_t start, size_t stride, size_t count) {
    size_t present = 0;
    for (size_t l = 0; l < count; l++) present += p->u[start + (ptrdiff_t)(l * stride)] != 0;
    return present;
}

// Makes entry j of row i what is chosen.
INLINE void replace(const sparse_t *p, size_t i, size_t j, float chosen) {
    float *entry = p->u + i * p->k + j, *h = p->h + i * p->k, step = (chosen - *entry) * p->s[j];
    const float *row = p->gram + j * p->ld;
    for (size_t l = 0; l < p->k; l++) h[l] -= step * row[l];
    *entry = chosen;
}

// What the error grows by where an entry that is not 0 becomes it.
INLINE float loss(const sparse_t *p, size_t i, size_t j) {
    float change = p->u[i * p->k + j] * p->s[j];
    return change * change * p->gram[j * p->ld + j] + 2 * change * p->h[i * p->k + j];
}

size_t CK_VARIANT(ck_ternary_thin)(
    float *u, float *h, size_t rows, size_t k, const float *s, const float *gram, size_t ld, const float *weights, int across) {
    sparse_t p = {u, h, k, 0, rows, s, gram, ld, across};
    size_t changes = 0, rowStep = across ? NEIGHBORS : 1, columnStep = across ? 1 : NEIGHBORS;
    for (size_t i = 0; i < rows; i += rowStep)
        for (size_t j = 0; j < k; j += columnStep)
            for (;;) {
                ptrdiff_t start;
                size_t stride, count = neighbors(&p, i, j, &start, &stride), worst = 0;
                if (count_neighbors(&p, start, stride, count) <= MOST) break;
                float least = INFINITY;
                for (size_t l = 0; l < count; l++) {
                    size_t row = across ? i + l : i, column = across ? j : j + l;
                    if (u[row * k + column] == 0) continue;
                    float own = loss(&p, row, column) * (weights ? weights[row] : 1);
                    // The first one, too, where nothing is a number.
                    if (least == INFINITY || own < least) least = own, worst = l;
                }
                replace(&p, across ? i + worst : i, across ? j : j + worst, 0);
                changes++;
            }
    return changes;
}

// Moves a neighbor's non-zero to entry j of row i, which is 0, where that is better; returns whether it has.
INLINE int move(const sparse_t *p, size_t i, size_t j, const float *prices) {
    size_t k = p->k, from = j / NEIGHBORS * NEIGHBORS, end = k - from < NEIGHBORS ? k : from + NEIGHBORS;
    const float *h = p->h + i * k, *row = p->gram + j * p->ld;
    float curve = p->s[j] * p->s[j] * row[j], best = -1e-5f * curve, chosen = 0;
    size_t left = j;
    for (size_t l = from; l < end; l++) {
        float change = p->u[i * k + l] * p->s[l];
        if (change == 0) continue;
        // With l gone.
        float slope = p->s[j] * (h[j] + change * row[l]), magnitude = slope < 0 ? -slope : slope;
        float cost = loss(p, i, l) - prices[l] + curve - 2 * magnitude + prices[j];
        if (cost < best) best = cost, left = l, chosen = slope < 0 ? -1.0f : 1.0f;
    }
    if (left == j) return 0;
    replace(p, i, left, 0);
    replace(p, i, j, chosen);
    return 1;
}

size_t CK_VARIANT(ck_ternary_descend_sparse)(
    float *u, float *h, size_t rows, size_t k, const float *s, const float *gram, size_t ld, const float *prices, int passes,
    int across, size_t first, size_t total) {
    sparse_t p = {u, h, k, first, total, s, gram, ld, across};
    size_t changes = 0;
    for (size_t i = 0; i < rows; i++)
        for (int pass = 0; pass < passes; pass++) {
            size_t before = changes;
            for (size_t j = 0; j < k; j++) {
                // As in ck_ternary_descend.
                float own = u[i * k + j], curve = s[j] * s[j] * gram[j * ld + j], slope = s[j] * h[i * k + j] + curve * own;
                float magnitude = slope < 0 ? -slope : slope, cost = curve - 2 * magnitude + prices[j];
                if (own == 0) {
                    if (!(cost < -1e-5f * curve)) continue;
                    ptrdiff_t start;
                    size_t stride, count = neighbors(&p, i, j, &start, &stride);
                    if (count_neighbors(&p, start, stride, count) >= MOST) {
                        changes += across ? 0 : (size_t)move(&p, i, j, prices);
                        continue;
                    }
                }
                float present = own == 0 ? 0 : curve - 2 * slope * own + prices[j], best = cost < 0 ? cost : 0;
                if (!(best < present - 1e-5f * curve)) continue;
                replace(&p, i, j, cost < 0 ? (slope < 0 ? -1.0f : 1.0f) : 0.0f);
                changes++;
            }
            if (changes == before) break;
        }
    return changes;
}
