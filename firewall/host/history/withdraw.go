package history

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// withdrawnEnding ends the name of a generation that was recorded and never came into force. The
// file keeps the number from being used again, since somebody may have read the generation
// meanwhile; the next Append removes it.
const withdrawnEnding = "withdrawn"

func withdrawnName(n int) string { return idOf(n) + "." + withdrawnEnding }

// takenBackEnding ends the name of a withdrawn generation that was in force until its trial ended.
// What it held of lists is set aside, which takes no room to record.
const takenBackEnding = "takenback"

func takenBackName(n int) string { return idOf(n) + "." + takenBackEnding }

// Withdraw takes back the record of a generation that did not come into force: the one before it is
// the last again. It renames a file, which takes no room on a full disk. A generation that was not
// recorded is no error. Hold the Lock.
func (s *Store) Withdraw(n int) error { return s.withdraw(n, withdrawnName(n)) }

// WithdrawTrial is Withdraw for a generation that was in force and that nobody has confirmed, where
// the end of its trial can't be recorded otherwise.
func (s *Store) WithdrawTrial(n int) error { return s.withdraw(n, takenBackName(n)) }

func (s *Store) withdraw(n int, name string) error {
	err := s.files.Rename(s.fileName(n), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		err = errors.Join(err, s.files.Remove(s.fileName(n)))
		if gone, rerr := s.isGone(n); rerr != nil || !gone {
			return fmt.Errorf(
				"generation %d did not come into force, and its record can't be removed: %w",
				n,
				err,
			)
		}
	}
	if err := s.files.Sync(); err != nil {
		return fmt.Errorf(
			"generation %d did not come into force, and a power cut may bring its record back: %w",
			n,
			err,
		)
	}
	return nil
}

func (s *Store) isGone(n int) (bool, error) {
	_, err := s.files.Size(s.fileName(n))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}

// withdrawn lists the numbers of the generations that were withdrawn since the last Append.
func (s *Store) withdrawn() (numbers []int) {
	entries, err := s.files.List()
	if err != nil {
		return nil
	}
	for _, e := range entries {
		id, ending, _ := strings.Cut(e.Name(), ".")
		if n := numberOf(id); n > 0 && (ending == withdrawnEnding || ending == takenBackEnding) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// takenBack is the trial that was withdrawn last after a generation; none if it is not ok.
func (s *Store) takenBack(after int) (r Record, ok bool) {
	for n := after + 1; ; n++ {
		f, err := s.files.Open(takenBackName(n))
		if err != nil {
			return r, ok
		}
		if head, err := readHead(f); err == nil {
			r, ok = head, true
		}
		_ = f.Close()
	}
}

// Lost reports whether the folder has nothing at all in it, or is gone. Teardown and Withdraw leave
// something behind, so a history that was not empty has lost its disk.
func (s *Store) Lost() bool {
	numbers, _, err := s.numbers()
	return err == nil && len(numbers) == 0 && len(s.withdrawn()) == 0
}
