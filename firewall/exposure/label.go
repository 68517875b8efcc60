package exposure

// LabelBit is a bit of a connection's label as a value of FieldCTLabel, which is the label's 16
// bytes as nf_tables loads them: bit N of the kernel's bitmap is bit N%8 of byte N/8.
func LabelBit(n int) Value {
	if n < 0 || n >= 128 {
		return Value{}
	}
	var b [16]byte
	b[n/8] = 1 << (n % 8)
	v, _ := Bytes(b[:])
	return v
}

// SetLabel adds bits to a connection's label. Neither nf_tables nor xtables removes any.
func SetLabel(bits Value) Assign {
	return Assign{To: FieldCTLabel, Value: []Operand{Of(FieldCTLabel).Or(bits)}}
}
