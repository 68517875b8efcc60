package firewall

import "errors"

// MarshalBinary implements encoding.BinaryMarshaler, which package gob uses: what AppendBinary makes.
func (p Prefixes) MarshalBinary() ([]byte, error) { return p.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (p *Prefixes) UnmarshalBinary(b []byte) error {
	q, rest, err := ReadPrefixes(b)
	if err == nil && len(rest) > 0 {
		err = errors.New("something stands behind the prefixes")
	}
	*p = q
	return err
}

// AppendBinary appends the set: each prefix, with its length before it.
func (p Prefixes) AppendBinary(b []byte) ([]byte, error) {
	for _, x := range p.list {
		y, _ := x.MarshalBinary()
		b = append(b, byte(len(y)))
		b = append(b, y...)
	}
	return b, nil
}

// ReadPrefixes reads what AppendBinary made.
func ReadPrefixes(b []byte) (Prefixes, []byte, error) {
	var list []Prefix
	for len(b) > 0 {
		var x Prefix
		n := int(b[0])
		if len(b) < n+1 {
			return Prefixes{}, nil, errors.New("cut")
		}
		if err := x.UnmarshalBinary(b[1 : n+1]); err != nil {
			return Prefixes{}, nil, err
		}
		list = append(list, x)
		b = b[n+1:]
	}
	p, err := NewPrefixes(list...)
	return p, nil, err
}
