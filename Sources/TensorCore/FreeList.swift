/// Unused memory as ranges of addresses. A buffer is cut from the smallest range that can hold it, and adjacent ranges are
/// merged.
struct FreeList: Sendable {
    /// Sorted by address; no two are adjacent.
    private(set) var ranges: [Range<UInt>] = []

    /// Takes `bytes` bytes out and returns their address; nil where no range is that long.
    mutating func allocate(_ bytes: Int) -> UInt? {
        var best: Int?
        for (index, range) in ranges.enumerated() where range.count >= bytes {
            if best.map({ range.count < ranges[$0].count }) ?? true { best = index }
        }
        guard let best else { return nil }
        let range = ranges[best]
        let rest = range.lowerBound + UInt(bytes)..<range.upperBound
        if rest.isEmpty { ranges.remove(at: best) } else { ranges[best] = rest }
        return range.lowerBound
    }

    /// Adds a range, merged with the ranges next to it.
    mutating func free(_ range: Range<UInt>) {
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].lowerBound < range.lowerBound { low = middle + 1 } else { high = middle }
        }
        let joinsNext = low < ranges.count && ranges[low].lowerBound == range.upperBound
        let joinsPrevious = low > 0 && ranges[low - 1].upperBound == range.lowerBound
        switch (joinsPrevious, joinsNext) {
        case (true, true):
            ranges[low - 1] = ranges[low - 1].lowerBound..<ranges[low].upperBound
            ranges.remove(at: low)
        case (true, false): ranges[low - 1] = ranges[low - 1].lowerBound..<range.upperBound
        case (false, true): ranges[low] = range.lowerBound..<ranges[low].upperBound
        case (false, false): ranges.insert(range, at: low)
        }
    }

    /// Takes out all whole pages of `size` bytes, and returns them.
    mutating func removePages(of size: Int) -> [Range<UInt>] {
        let size = UInt(size)
        var pages: [Range<UInt>] = []
        var left: [Range<UInt>] = []
        for range in ranges {
            let (first, end) = ((range.lowerBound + size - 1) / size * size, range.upperBound / size * size)
            guard first < end else {
                left.append(range)
                continue
            }
            pages.append(first..<end)
            left += [range.lowerBound..<first, end..<range.upperBound].filter { !$0.isEmpty }
        }
        ranges = left
        return pages
    }
}
