package watch

import (
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Event is one commit of another program, or the loss of notifications.
type Event struct {
	At time.Time
	// Generation is nf_tables' generation id after the commit; 0 if unknown. If Lost, commits up to
	// this one may be missing.
	Generation uint32
	// Ours is true if the commit touched a table that holds our rules.
	Ours bool
	// Hooks is true if the commit changed which rules see packets, or in which order: a base chain
	// or flowtable was added or deleted, or a table with chains became dormant or active.
	Hooks bool
	// Summary is for people: "table inet portgrave: 1 element deleted".
	Summary string
	// Author is who made the commit; unknown fields are zero.
	Author firewall.Author
	// LoginUser is the user who logged in (audit's login uid), which sudo and su don't change. It
	// is "" for processes that no login started.
	LoginUser string
	// Lost is true if notifications were lost. Anything may have changed, and the author is
	// unknown. Commits reported shortly before may be incomplete.
	Lost bool
}
