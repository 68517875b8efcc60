package nftjson

import "iter"

// collected is a list that is built element by element. A slice that grows by append is copied
// several times on the way, which took half the time of reading a set of a million elements. This
// list is copied once, to a slice of its exact length.
type collected[T any] struct {
	full [][]T
	last []T
	n    int
}

// maxLast is the most elements that are copied as the list grows.
const maxLast = 1 << 14

func (c *collected[T]) add(x T) {
	if len(c.last) == maxLast {
		c.full, c.last = append(c.full, c.last), make([]T, 0, maxLast)
	}
	c.last = append(c.last, x)
	c.n++
}

// all yields the elements.
func (c *collected[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := 0; i <= len(c.full); i++ {
			part := c.last
			if i < len(c.full) {
				part = c.full[i]
			}
			for j := range part {
				if !yield(&part[j]) {
					return
				}
			}
		}
	}
}

// moveTo appends the elements to a slice and empties the list.
func (c *collected[T]) moveTo(s []T) []T {
	switch {
	case c.n == 0:
		return s
	case len(s) == 0 && len(c.full) == 0:
		s = c.last
	default:
		if len(s) == 0 {
			s = make([]T, 0, c.n)
		}
		for i, part := range c.full {
			s = append(s, part...)
			c.full[i] = nil // the collector may have it
		}
		s = append(s, c.last...)
	}
	*c = collected[T]{}
	return s
}
