package history

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/portgrave/portgrave/firewall/host/statefiles"
)

// The text of the policy that a generation was compiled from is kept, so that the networks it names
// can be followed while another text waits on disk. Many generations have the same text, such as
// those that leases make, and a text may have megabytes: each stands in a file of its own, named by
// its SHA-256, once.

const (
	texts        = "policies"
	textSuffix   = ".policy"
	policyEnding = "policy" // of a file in generations that says which policy means the same by now
)

func policyName(n int) string { return idOf(n) + "." + policyEnding }

// PolicyName is the name under which KeepPolicy keeps a text.
func PolicyName(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// KeepPolicy keeps the text of a policy and returns its name, for Record.Policy. It throws out the
// texts that no generation has any more. Hold the Lock.
func (s *Store) KeepPolicy(text []byte) (string, error) {
	name := PolicyName(text)
	if _, err := s.Policy(name); err == nil {
		return name, nil
	}
	err := s.texts.Make()
	if err == nil {
		err = s.texts.Write(name+textSuffix, statefiles.Bytes(text))
	}
	if err == nil {
		err = s.texts.Sync()
	}
	if err != nil {
		return "", fmt.Errorf("the policy's text could not be kept: %w", err)
	}
	s.forgetPolicies(name)
	return name, nil
}

// Policy is a text that KeepPolicy has kept; of a damaged one the error wraps ErrDamaged.
func (s *Store) Policy(name string) ([]byte, error) {
	text, err := s.texts.Read(name + textSuffix)
	if err != nil {
		return nil, fmt.Errorf("the policy in force: %w", err)
	}
	if PolicyName(text) != name {
		return nil, fmt.Errorf("the policy in force: %s%s is %w", name, textSuffix, ErrDamaged)
	}
	return text, nil
}

// SetPolicy records that a generation is what another policy means, too. Hold the Lock.
func (s *Store) SetPolicy(n int, name string) error {
	err := s.files.Write(policyName(n), statefiles.Bytes([]byte(name+"\n")))
	if err == nil {
		err = s.files.Sync()
	}
	if err != nil {
		return fmt.Errorf("the policy of generation %d could not be recorded: %w", n, err)
	}
	return nil
}

// forgetPolicies removes the texts that no generation has, but for one. While it is unknown which
// they are, all stay.
func (s *Store) forgetPolicies(but string) {
	entries, err := s.texts.List()
	if err != nil || len(entries) <= 2 {
		return
	}
	numbers, _, err := s.numbers()
	if err != nil {
		return
	}
	needed := map[string]bool{but: true}
	for _, n := range numbers {
		r, err := s.HeadOf(n)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
		needed[r.Policy] = true
	}
	for _, e := range entries {
		if name, text := strings.CutSuffix(e.Name(), textSuffix); text && !needed[name] {
			_ = s.texts.Remove(e.Name()) // one too many is no harm
		}
	}
}
