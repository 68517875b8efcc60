package watch

import (
	"time"

	"github.com/portgrave/portgrave/firewall"
)

// Event is one commit of another program, or the loss of notifications.
type Event struct {
	At time.Time
	// Generation is nf_tables' generation id after the commit. With Lost: commits up to this one
	// may be missing. 0 if unknown.
	Generation uint32
	// Ours: the commit touched a table that holds our rules, whoever made it.
	Ours bool
	// Hooks: the commit has changed who sees packets, or in which order: a base chain or a
	// flowtable came or went, or a table that holds chains was put to sleep or woken.
	Hooks bool
	// Summary is for people: "table inet portgrave: 1 element deleted".
	Summary string
	// Author is what is known of who did it; fields are zero where it isn't.
	Author firewall.Author
	// LoginUser is who logged in to begin with (audit's login uid), whatever became of it through sudo
	// or su; "" for what no login started.
	LoginUser string
	// Lost: notifications were lost, anything may have changed, the author is unknown. Commits
	// reported shortly before may be incomplete.
	Lost bool
}
