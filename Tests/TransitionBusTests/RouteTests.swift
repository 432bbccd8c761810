import Collectives
import Support
import Testing

@testable import TransitionBus

@Suite struct RouteTests {
    private static func address(_ interface: String, _ text: String, bits: UInt32 = 24) -> NetworkAddress {
        NetworkAddress(interface: interface, text: text, address: NetworkInterfaces.parse(text) ?? 0, mask: ~0 << (32 - bits))
    }

    private static func survey(_ candidates: [String], own: [NetworkAddress], besides: [NetworkAddress] = []) -> RouteSurvey {
        var survey = RouteSurvey(
            candidates: candidates.compactMap { NetworkInterfaces.parse($0) }, own: own, all: own + besides, isAtHome: false)
        survey.source = { _ in nil }
        return survey
    }

    @Test func `an interface that listens everywhere is refused`() {
        for interface in ["*", "0.0.0.0", "", "eth0:5555", "absent0"] {
            #expect { try Endpoints.check(interface) } throws: {
                ($0 as? BusError)?.exitCode == .configuration && "\($0)".contains("bus.interface")
            }
        }
        #expect(throws: Never.self) { try Endpoints.check("lo") }
    }

    @Test(arguments: ["docker0", "br-1a2b3c4d5e6f", "veth12ab", "virbr0", "cni0", "flannel.1", "cali1"])
    func `bridges of containers are no way to other machines`(_ name: String) {
        #expect(Self.address(name, "172.17.0.1").isVirtual)
        #expect(
            !Self.address("eth0", "10.0.0.1").isVirtual && !Self.address("br0", "10.0.0.1").isVirtual
                && !Self.address("ib0", "10.1.0.1").isVirtual && !Self.address("br-ex", "10.0.0.1").isVirtual)
    }

    /// Without the loopback mpirun ends with 1 and no word where there is nothing else.
    @Test func `Open MPI keeps to ways to other nodes, and to the loopback where there are none`() {
        let loopback = NetworkAddress(interface: "lo", text: "127.0.0.1", address: 127 << 24, mask: 255 << 24, isLoopback: true)
        let (outward, bridge) = (Self.address("eth0", "10.0.0.1"), Self.address("docker0", "172.17.0.1"))
        #expect(NetworkInterfaces.excluded(among: [loopback, outward]) == [])
        #expect(NetworkInterfaces.excluded(among: [loopback, outward, bridge]) == ["lo", "docker0"])
        #expect(NetworkInterfaces.excluded(among: [loopback, bridge]) == ["docker0"])
    }

    @Test func `the network that holds rank 0's address is taken, whatever else there is`() {
        let own = [Self.address("eth0", "192.168.7.2"), Self.address("ib0", "10.1.0.2")]
        let survey = Self.survey(["192.168.9.1", "10.1.0.1"], own: own)
        #expect(survey.way(to: survey.candidates[1]).from == own[1])
        #expect(survey.way(to: survey.candidates[1]).reach == RouteSurvey.Reach.neighbor)
        #expect(survey.way(to: survey.candidates[0]).reach == RouteSurvey.Reach.none)
    }

    /// Bridges that no list knows have the same address on every machine.
    @Test func `an address that this machine has itself is not rank 0's machine`() {
        let own = [Self.address("eth0", "10.0.0.2"), Self.address("lxdbr-x", "172.17.0.1")]
        let survey = Self.survey(["172.17.0.1", "10.0.0.1"], own: own)
        #expect(survey.way(to: survey.candidates[0]).reach == RouteSurvey.Reach.none)
        #expect(survey.way(to: survey.candidates[1]).from == own[0])
    }

    @Test func `where networks differ, the system's route decides`() {
        let own = [Self.address("eth0", "10.0.0.2"), Self.address("eth1", "10.9.0.2")]
        var survey = Self.survey(["10.5.0.1"], own: own)
        survey.source = { _ in own[1].address }
        #expect(survey.way(to: survey.candidates[0]).from == own[1])
        #expect(survey.way(to: survey.candidates[0]).reach == RouteSurvey.Reach.routed)
    }

    @Test func `all ranks take the candidate that the worst placed of them reaches best`() {
        #expect(RouteSurvey.best([[2, 2, 2], [0, 1, 2], [2, 1, 2]]) == 2)
        #expect(RouteSurvey.best([[2, 2], [1, 1]]) == 0)
        #expect(RouteSurvey.best([[2, 2], [0, 2], [2, 0]]) == nil)
        #expect(RouteSurvey.best([[], []]) == nil)
    }
}
