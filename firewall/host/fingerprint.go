package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/portgrave/portgrave/firewall"
	"github.com/portgrave/portgrave/firewall/host/history"
)

// Fingerprint identifies a plan: apply carries out that plan or nothing.
type Fingerprint struct {
	Backend string `json:"backend"`
	// Generation was in force; 0: none.
	Generation int `json:"generation"`
	// Policy is Digest of the policy without leases.
	Policy string `json:"policy"`
	// Kernel is a digest of what has to change in the kernel.
	Kernel string `json:"kernel"`
}

// fingerprint is that of a plan.
func (l *Local) fingerprint(p firewall.Plan, policy firewall.State) (Fingerprint, error) {
	newest, err := l.view().Newest()
	if err != nil && !errors.Is(err, history.ErrNone) {
		return Fingerprint{}, err
	}
	changes, err := json.Marshal(p.Changes)
	if err != nil {
		return Fingerprint{}, err
	}
	sum := sha256.Sum256(changes)
	return Fingerprint{p.Backend, newest, Digest(policy), hex.EncodeToString(sum[:])}, nil
}

// checkPlan refuses to carry out another plan than the one that a request names.
func (q ApplyRequest) checkPlan(l *Local, p firewall.Plan) error {
	if q.Expect == nil {
		return nil
	}
	now, err := l.fingerprint(p, q.Policy.State)
	if err != nil {
		return err
	}
	var why string
	switch then := *q.Expect; {
	case now == then:
		return nil
	case now.Policy != then.Policy:
		why = "the policy, or the content of one of its networks, has changed"
	case now.Generation != then.Generation:
		why = fmt.Sprintf("generation %d was in force, and generation %d is now",
			then.Generation, now.Generation)
	case now.Backend != then.Backend:
		why = fmt.Sprintf("the plan was for %s, and this is for %s", then.Backend, now.Backend)
	default:
		why = "the rules in the kernel have changed"
	}
	return outOfDate(why)
}

func outOfDate(why string) error {
	return fmt.Errorf("refused: the plan is out of date, since %s. "+
		"Nothing was changed. Run portgrave plan again", why)
}
