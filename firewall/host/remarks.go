package host

import (
	"fmt"

	"github.com/portgrave/portgrave/firewall"
)

// maxReason is how many bytes a reason may have, as in a lease.
const maxReason = 500

// CheckReason says what is wrong with the reason of a request.
func CheckReason(reason string) error {
	if len(reason) > maxReason {
		return Usagef("reason: it has %d bytes; write at most %d", len(reason), maxReason)
	}
	return remark("reason", reason)
}

// check says what of a caller can't be recorded, because it would do harm where it is printed.
func (c Caller) check() error {
	if err := remark("user", c.User); err != nil {
		return err
	}
	return remark("from", c.From)
}

// checkRemarks is both.
func checkRemarks(c Caller, reason string) error {
	if err := CheckReason(reason); err != nil {
		return err
	}
	return c.check()
}

func remark(name, text string) error {
	if err := firewall.CheckRemark(text); err != nil {
		return UsageError{fmt.Errorf("%s: %w", name, err)}
	}
	return nil
}
