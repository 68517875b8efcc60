package daemon

import (
	"runtime/debug"
	"time"

	"github.com/portgrave/portgrave/cmd/portgrave/api"
)

// storeAfter is how long after a reading the last good content of lists is stored: when the rules
// made of it are in force, or the person who asked for a plan has it.
const storeAfter = 3 * time.Second

// tidyLater leaves for later what a reading must not wait for. It stores the last good content of
// lists, and returns memory: reading a million sources takes some times what they take afterwards,
// a compiled policy is kept for KeepCompiled, and other readings that follow use the same memory.
func (d *Daemon) tidyLater() {
	if d.tidying.Swap(true) {
		return
	}
	time.AfterFunc(storeAfter, d.storeLists)
	time.AfterFunc(storeAfter+api.KeepCompiled, func() {
		d.tidying.Store(false)
		d.storeLists()
		debug.FreeOSMemory()
	})
}

// storeLists stores the last good content of lists.
func (d *Daemon) storeLists() {
	if d.Memory == nil {
		return
	}
	if err := d.Memory.StoreLastGood(); err != nil {
		d.Log.Warn(err.Error())
	}
}
