package firewall

import (
	"context"

	"github.com/portgrave/portgrave/firewall/address"
)

// TableFill is how many sources a table of a rate or of a log remembers, and how many it has room
// for. While a rate's is full, further sources are refused; while a log's is, they are refused
// unreported.
type TableFill struct {
	Service string         `json:"service"` // whose rate; "" for the log of refused packets
	Family  address.Family `json:"-"`
	Sources int            `json:"sources"` // SourcesUnknown where nothing counts them
	Room    int            `json:"room"`
	// Turned is how many packets came from sources that there was no room for, where that is
	// counted.
	Turned uint64 `json:"turned"`
}

// SourcesUnknown stands for a number of sources that the kernel does not tell.
const SourcesUnknown = -1

// Full reports whether there is no room for another source.
func (t TableFill) Full() bool { return t.Sources >= t.Room }

// Filling is a Backend that can count what such tables hold.
type Filling interface {
	// Fill counts the sources in the tables of the services' rates and in those of the log of
	// refused packets. What nothing has been remembered of may be missing. It costs as much as
	// there are sources.
	Fill(ctx context.Context, services []string) ([]TableFill, error)
}
