/// The arrangement of parameters, one after the other, in a few buckets, each parameter whole in one of them.
package struct BucketLayout: Sendable {
    /// Where a parameter's elements lie.
    package struct Place: Sendable, Equatable {
        package let bucket: Int
        /// Index of its first element in the bucket.
        package let offset: Int
        package let count: Int
    }

    package let places: [Place]
    /// Elements of each bucket.
    package let bucketCounts: [Int]
    /// Elements of all parameters.
    package let count: Int

    /// Bytes after which a bucket is closed. The time of a sum over ranks of this size depends on the memory's speed, not on
    /// the fixed cost of a message.
    package static let defaultBytes = 4 << 20

    /// - Parameter counts: elements of each parameter, in the order in which a backward pass completes their gradients.
    package init(counts: [Int], bytes: Int = defaultBytes) {
        var places: [Place] = []
        var bucketCounts: [Int] = []
        let limit = max(1, bytes / MemoryLayout<Float>.stride)
        for count in counts {
            if bucketCounts.isEmpty
                || (bucketCounts[bucketCounts.count - 1] > 0 && bucketCounts[bucketCounts.count - 1] + count > limit)
            {
                bucketCounts.append(0)
            }
            let bucket = bucketCounts.count - 1
            places.append(Place(bucket: bucket, offset: bucketCounts[bucket], count: count))
            bucketCounts[bucket] += count
        }
        self.places = places
        self.bucketCounts = bucketCounts
        count = counts.reduce(0, +)
    }

    package var parametersPerBucket: [Int] {
        var result = [Int](repeating: 0, count: bucketCounts.count)
        for place in places { result[place.bucket] += 1 }
        return result
    }
}
