#if canImport(Glibc)
    internal import Glibc
#endif

/// Seconds of processor time that one call of `body` takes: the median of `samples` measurements of at least `leastSeconds`
/// each, after one that is not counted.
///
/// Processor time, since other programs may share the core; the median, since what they leave in the caches only ever adds
/// time, and a minimum would reward a lucky clock.
func medianSeconds(samples: Int = 21, leastSeconds: Double = 0.005, _ body: () -> Void) -> Double {
    func seconds(_ calls: Int) -> Double {
        let start = processorSeconds()
        for _ in 0..<calls { body() }
        return processorSeconds() - start
    }
    body()
    let once = max(seconds(1), 1e-9)
    let calls = max(1, Int(leastSeconds / once))
    let times = (0..<samples).map { _ in seconds(calls) / Double(calls) }
    return times.sorted()[samples / 2]
}

/// Processor time of this thread so far.
func processorSeconds() -> Double {
    var time = timespec()
    let code = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    precondition(code == 0, "this system has no clock of a thread's processor time")
    return Double(time.tv_sec) + 1e-9 * Double(time.tv_nsec)
}
