enum { BUCKETS = 256 };

// Large lists only where one value repeats very often: heap sort bounds them at n·log n.
static void sift(float *x, size_t root, size_t n) {
    float value = x[root];
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && x[child + 1] < x[child]) child++;
        if (!(x[child] < value)) break;
        x[root] = x[child];
        x[child] = value;
    }
}

static void sort_descending(float *x, size_t n) {
    if (n <= 24) {
        for (size_t i = 1; i < n; i++) {
            float value = x[i];
            size_t j = i;
            for (; j > 0 && x[j - 1] < value; j--) x[j] = x[j - 1];
            x[j] = value;
        }
        return;
    }
    for (size_t root = n / 2; root-- > 0;) sift(x, root, n);
    for (size_t end = n - 1; end > 0; end--) {
        float least = x[0];
        x[0] = x[end];
        x[end] = least;
        sift(x, 0, end);
    }
}

// Magnitudes are dealt to buckets of equal width, largest first, and a bucket is sorted only when the scan reaches it: the scan
// usually ends after a quarter of the entries.
size_t CK_VARIANT(ck_ternary_project)(const float *a, size_t n, double target, float *out, float *scratch) {
    // NaN where any entry is: it has no bucket.
    float largest = CK_VARIANT(ck_max_abs)(a, n);
    if (!(largest > 0) || !isfinite(largest)) {
        memset(out, 0, n * sizeof *out);
        return 0;
    }
    if (target <= 0 && n > 0) {
        for (size_t i = 0; i < n; i++) out[i] = a[i] >= 0 ? 1 : -1;
        return n;
    }
    uint32_t start[BUCKETS + 1] = {0};
    double scale = (BUCKETS - 1) / (double)largest;
    for (size_t i = 0; i < n; i++) start[BUCKETS - (int)(fabsf(a[i]) * scale)]++;
    for (int b = 0; b < BUCKETS; b++) start[b + 1] += start[b];
    uint32_t end[BUCKETS];
    memcpy(end, start, sizeof end);
    for (size_t i = 0; i < n; i++) scratch[end[BUCKETS - 1 - (int)(fabsf(a[i]) * scale)]++] = fabsf(a[i]);

    double sum = 0, best = -1;
    float least = 0;
    for (int b = 0, found = 0; b < BUCKETS && !found; b++) {
        sort_descending(scratch + start[b], end[b] - start[b]);
        for (size_t j = start[b]; j < end[b]; j++) {
            sum += scratch[j];
            double score = sum / SQRT((double)(j + 1));
            if (score > best) {
                best = score;
                least = scratch[j];
            }
            if (score >= target) {
                least = scratch[j];
                found = 1;
                break;
            }
        }
    }
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        int kept = fabsf(a[i]) >= least;
        out[i] = kept ? (a[i] >= 0 ? 1.0f : -1.0f) : 0.0f;
        count += kept;
    }
    return count;
}
