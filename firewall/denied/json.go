package denied

import (
	"encoding/json"
	"io"
)

// JSON writes each event as one line of JSON, in one Write.
func JSON(w io.Writer) func(Event) error {
	return func(e Event) error {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = w.Write(append(line, '\n'))
		return err
	}
}
