internal import Glibc

/// Seconds of processor time that one call of `body` takes: the median of `samples` measurements of at least `leastSeconds`
/// each, after one that is not counted.
///
/// Processor time, since other programs may share the core; the median, since what they leave in the caches only ever adds
/// time, and a minimum would reward a lucky clock.
func medianSeconds(samples: Int = 21, leastSeconds: Double = 0.005, _ body: () -> Void) -> Double {
    withoutActuallyEscaping(body) { medianSeconds(samples: samples, leastSeconds: leastSeconds, inTurn: [$0])[0] }
}

/// The same of several bodies, which take turns sample by sample, so that a slow minute of the machine slows all of them.
func medianSeconds(samples: Int = 21, leastSeconds: Double = 0.005, inTurn bodies: [() -> Void]) -> [Double] {
    func seconds(_ calls: Int, _ body: () -> Void) -> Double {
        let start = processorSeconds()
        for _ in 0..<calls { body() }
        return processorSeconds() - start
    }
    let calls = bodies.map { body in
        body()
        return max(1, Int(leastSeconds / max(seconds(1, body), 1e-9)))
    }
    var times = [[Double]](repeating: [], count: bodies.count)
    for _ in 0..<samples {
        for (index, body) in bodies.enumerated() { times[index].append(seconds(calls[index], body) / Double(calls[index])) }
    }
    return times.map { $0.sorted()[samples / 2] }
}

/// Processor time of this thread so far.
func processorSeconds() -> Double {
    var time = timespec()
    let code = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    precondition(code == 0, "this system has no clock of a thread's processor time")
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}
