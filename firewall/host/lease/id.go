package lease

import (
	"crypto/rand"
	"strings"
)

// IDs are six consonants: no vowels, so that they form no words, and neither l nor digits to be
// taken for one another or for a port. Drawn, not counted, so that one that is over is not soon
// used again: the history still names it.
const (
	idLetters = "bcdfghjkmnpqrstvwxz"
	idLength  = 6
)

func isID(s string) bool {
	return len(s) == idLength && strings.Trim(s, idLetters) == ""
}

// drawID makes an ID; 19⁶ are 47 million.
func drawID() string {
	id := make([]byte, 0, idLength)
	var b [1]byte
	for len(id) < idLength {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		// Bytes that would make some letters likelier are drawn again.
		if n := len(idLetters); int(b[0]) < 256/n*n {
			id = append(id, idLetters[int(b[0])%n])
		}
	}
	return string(id)
}
