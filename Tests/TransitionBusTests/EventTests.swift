import CZeroMQ
import Glibc
import Support
import TensorCore
import Testing

@testable import TransitionBus

@Suite(.serialized) struct EventTests {
    /// Polls both ends until `condition` holds, a minute at most.
    private static func exchange(
        _ publisher: EventPublisher, _ subscriber: EventSubscriber, until condition: ([RunEvent]) -> Bool
    ) throws -> [RunEvent] {
        var events: [RunEvent] = []
        let deadline = ContinuousClock.now + .seconds(60)
        while !condition(events), ContinuousClock.now < deadline {
            try publisher.poll()
            events += try subscriber.next(milliseconds: 5)
        }
        return events
    }

    @Test func `a late joiner gets the newest value of every key, then what changes`() throws {
        let publisher = try EventPublisher(MessagingContext())
        for step in 1...50 { try publisher.publish("step", json: Array("\(step)".utf8)) }
        try publisher.publish("layer/0", json: Array("\"full\"".utf8))
        let subscriber = try EventSubscriber(publisher.endpoint)
        let first = try Self.exchange(publisher, subscriber) { $0.count >= 2 }
        #expect(first.map(\.key) == ["step", "layer/0"])
        #expect(first.first?.json == Array("50".utf8))
        try publisher.publish("step", json: Array("51".utf8))
        let second = try Self.exchange(publisher, subscriber) { !$0.isEmpty }
        #expect(second.map(\.json) == [Array("51".utf8)])
    }

    @Test func `a monitor that stops reading costs neither time nor memory`() async {
        // In a process of its own: the peak is the process's, and other tests run beside this one.
        await #expect(processExitsWith: .success) {
            let publisher = try EventPublisher(MessagingContext())
            let stuck = try EventSubscriber(publisher.endpoint)
            try publisher.publish("step", json: [48])
            _ = try EventTests.exchange(publisher, stuck) { !$0.isEmpty }
            usleep(300_000)
            _ = try stuck.next(milliseconds: 10)
            let before = peakMemory()
            let start = ContinuousClock.now
            let json = [UInt8](repeating: 32, count: 8000)
            for _ in 0..<25_000 { try publisher.publish("step", json: json) }
            #expect(ContinuousClock.now - start < .seconds(60))
            #expect(peakMemory() - before < 64 << 20)
            // And when it reads again, it finds its way.
            try publisher.publish("step", json: [49])
            let events = try EventTests.exchange(publisher, stuck) { $0.last?.json == [49] }
            #expect(events.last?.json == [49])
        }
    }

    @Test func `an address that others can reach needs a key`() throws {
        let messaging = try MessagingContext()
        #expect { try EventPublisher(messaging, address: "eth0") } throws: { "\($0)".contains("key file") }
        #expect(throws: BusError.self) { try EventPublisher(messaging, address: "*", keys: .generate()) }
    }

    @Test func `a port that is named and taken is a setting to change`() throws {
        let messaging = try MessagingContext()
        // Below the ports that the system gives out.
        let port = 2 * Int.random(in: 10_000..<15_000)
        let taken = try EventPublisher(MessagingContext(), port: port)
        for port in [port, port - 1] {
            let error = #expect(throws: BusError.self) { try EventPublisher(messaging, port: port) }
            #expect(error?.exitCode == .configuration && error?.description.hasPrefix("events.endpoint: port") == true)
        }
        withExtendedLifetime(taken) {}
    }

    /// It may say anything of where its events have got to.
    @Test func `a publisher of the largest number of events is followed`() throws {
        let messaging = try MessagingContext()
        let events = try ZeroMQSocket(messaging.context, .publisher, name: "events")
        let snapshots = try ZeroMQSocket(messaging.context, .router, name: "snapshots")
        let place = Array(try events.bind("tcp://127.0.0.1:*").utf8)
        let subscriber = try EventSubscriber(try snapshots.bind("tcp://127.0.0.1:*"))
        var seen: [RunEvent] = []
        let deadline = ContinuousClock.now + .seconds(60)
        while seen.isEmpty, ContinuousClock.now < deadline {
            if let request = try snapshots.receive() {
                _ = try snapshots.send([request.parts[0], [UInt8](repeating: 255, count: 8), place])
            }
            _ = try events.send([EventPublisher.topic] + RunEvent(sequence: 3, key: "step", json: [49]).parts)
            seen += try subscriber.next(milliseconds: 5)
        }
        #expect(seen.map(\.sequence) == [3])
    }

    @Test func `with keys, only listed monitors see the run`() throws {
        let (keys, monitor, unlisted) = (try CurveKeys.generate(), try CurveKeys.generate(), try CurveKeys.generate())
        let messaging = try MessagingContext()
        let publisher = try EventPublisher(messaging, keys: keys, monitors: [monitor.publicKey])
        try publisher.publish("step", json: [48])
        let intruder = try EventSubscriber(publisher.endpoint, keys: unlisted, serverKey: keys.publicKey)
        let listed = try EventSubscriber(publisher.endpoint, keys: monitor, serverKey: keys.publicKey)
        #expect(try Self.exchange(publisher, listed) { !$0.isEmpty }.count == 1)
        let refused = try Self.exchange(publisher, intruder) { !$0.isEmpty || messaging.authenticator.refused > 0 }
        var seen = refused.count
        for _ in 0..<50 {
            try publisher.poll()
            seen += try intruder.next(milliseconds: 5).count
        }
        #expect(seen == 0 && messaging.authenticator.refused > 0)
    }

    @Test func `a monitor knows whether it is connected, and starts over with the next run at the same endpoint`() throws {
        // Below the ports that the system gives out.
        let port = 2 * Int.random(in: 10_000..<15_000)
        let subscriber = try EventSubscriber("tcp://127.0.0.1:\(port)")
        func watchRun(events: Int) throws {
            let publisher = try EventPublisher(MessagingContext(), port: port)
            for step in 1...events { try publisher.publish("step", json: Array("\(step)".utf8)) }
            let seen = try Self.exchange(publisher, subscriber) { !$0.isEmpty }
            #expect(seen.last?.json == Array("\(events)".utf8))
            #expect(subscriber.connection == .open)
        }
        try watchRun(events: 9)
        let deadline = ContinuousClock.now + .seconds(60)
        while subscriber.connection == .open, ContinuousClock.now < deadline { _ = try subscriber.next(milliseconds: 5) }
        #expect(subscriber.connection != .open)
        // The second run has counted fewer events than the first.
        try watchRun(events: 2)
    }

    @Test func `a key that is none is refused by name`() throws {
        let messaging = try MessagingContext()
        #expect { try EventPublisher(messaging, keys: .generate(), monitors: ["secret"]) } throws: {
            $0 as? BusError == .malformedKey("secret")
        }
    }
}
