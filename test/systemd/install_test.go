package systemd

import (
	"regexp"
	"testing"
)

// TestInstallNowSaysWhatIsInForce: the first policy closes a port. Installing reports what is in
// force, and how to see and undo it. The command to undo it works.
func TestInstallNowSaysWhatIsInForce(t *testing.T) {
	t.Parallel()
	d := newDisk(t, policyText)
	m := d.boot()
	said := m.run("portgrave", "install", "--now")
	for _, line := range []string{
		`(?m)^portgrave: In force: tcp/9090 is open to 1 network of the policy and refused to ` +
			`everybody else; other ports are left alone\.$`,
		`(?m)^portgrave: To see it: sudo portgrave status; the policy is in /etc/portgrave`,
	} {
		if !regexp.MustCompile(line).MatchString(said) {
			t.Errorf("it does not say %s:\n%s", line, said)
		}
	}
	undo := regexp.MustCompile(`(?m)^portgrave: To undo it: (.*)$`).FindStringSubmatch(said)
	if undo == nil {
		t.Fatalf("it does not say how to undo it:\n%s", said)
	}
	if !m.hasTable() { // the control
		t.Fatal("there is nothing to undo")
	}
	m.run("sh", "-ec", regexp.MustCompile(`sudo `).ReplaceAllString(undo[1], ""))
	if m.hasTable() {
		t.Errorf("%q leaves the rules in force", undo[1])
	}
}
