/// Parameters one after the other in a few buckets, each parameter whole in one of them.
package struct BucketLayout: Sendable {
    /// Where a parameter's elements lie.
    package struct Place: Sendable, Equatable {
        package let bucket: Int
        /// Of its first element, in the bucket.
        package let offset: Int
        package let count: Int
    }

    package let places: [Place]
    /// Elements of each bucket.
    package let bucketCounts: [Int]
    /// Elements of all parameters.
    package let count: Int

    /// Bytes after which a bucket is closed: a sum over ranks of this size is paced by the memory's speed, not by its fixed
    /// cost.
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
