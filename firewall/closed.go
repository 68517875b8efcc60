package firewall

// Outline is what can be made out of a policy whatever mistakes it has: enough to close its ports
// when it can't be used otherwise.
type Outline struct {
	// Open: the policy says clearly that a boot which can load nothing leaves everything open.
	Open bool
	// Unlisted is deny too if it can't be made out.
	Unlisted Unlisted
	// Ports that services list.
	Ports []PortRange
	// Complete: there are no others.
	Complete bool
}

// ClosedService is the name of the service in a State that Closed makes.
const ClosedService = "closed"

// Closed is the State that lets nobody in: to the given ports under UnlistedIgnore, to any port
// under UnlistedDeny, where replies and what the protocols need go on. It is for a boot that can't
// tell whom to let in.
func Closed(unlisted Unlisted, ports []PortRange) (State, error) {
	s := State{
		Unlisted:    unlisted,
		Refuse:      RefuseDrop,
		Established: EstablishedCut,
		Essentials:  DefaultEssentials,
	}
	if len(ports) > 0 {
		s.Services = []Service{{Name: ClosedService, Ports: ports, Log: LogDenied}}
	}
	return s.Canonical()
}
