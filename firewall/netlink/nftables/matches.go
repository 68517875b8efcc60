package nftables

import "golang.org/x/sys/unix"

// Attributes that x/sys/unix lacks.
const (
	bitwiseOp    = 6 // NFTA_BITWISE_OP
	bitwiseData  = 7 // NFTA_BITWISE_DATA
	bitwiseSreg2 = 8 // NFTA_BITWISE_SREG2

	dynsetExpressions = 10 // NFTA_DYNSET_EXPRESSIONS
)

// Operations of Bitwise (enum nft_bitwise_ops).
const (
	BitwiseMaskXor    = 0
	BitwiseLeftShift  = 1
	BitwiseRightShift = 2
)

// Expressions that compute with registers and compare what they hold.

// Bitwise computes (value & Mask) ^ Xor, or shifts by Data.
type Bitwise struct {
	Sreg, Sreg2, Dreg Register
	Len               uint32
	Op                uint32
	Mask, Xor, Data   string
}

// Name implements Expr.
func (Bitwise) Name() string { return "bitwise" }

func (e *Bitwise) attributes(c *codec) {
	c.register(unix.NFTA_BITWISE_SREG, &e.Sreg)
	c.register(unix.NFTA_BITWISE_DREG, &e.Dreg)
	c.u32(unix.NFTA_BITWISE_LEN, &e.Len)
	c.data(unix.NFTA_BITWISE_MASK, &e.Mask)
	c.data(unix.NFTA_BITWISE_XOR, &e.Xor)
	c.optional32(bitwiseOp, &e.Op)
	c.data(bitwiseData, &e.Data)
	c.register(bitwiseSreg2, &e.Sreg2)
}

// Byteorder turns numbers of Size bytes around.
type Byteorder struct {
	Sreg, Dreg    Register
	Op, Len, Size uint32
}

// Name implements Expr.
func (Byteorder) Name() string { return "byteorder" }

func (e *Byteorder) attributes(c *codec) {
	c.register(unix.NFTA_BYTEORDER_SREG, &e.Sreg)
	c.register(unix.NFTA_BYTEORDER_DREG, &e.Dreg)
	c.u32(unix.NFTA_BYTEORDER_OP, &e.Op)
	c.u32(unix.NFTA_BYTEORDER_LEN, &e.Len)
	c.u32(unix.NFTA_BYTEORDER_SIZE, &e.Size)
}

// Cmp goes on if a register compares with Data like that: NFT_CMP_*.
type Cmp struct {
	Op   uint32
	Sreg Register
	Data string
}

// Name implements Expr.
func (Cmp) Name() string { return "cmp" }

func (e *Cmp) attributes(c *codec) {
	c.register(unix.NFTA_CMP_SREG, &e.Sreg)
	c.u32(unix.NFTA_CMP_OP, &e.Op)
	c.data(unix.NFTA_CMP_DATA, &e.Data)
}

// Range goes on if a register lies within From and To, both included, or outside: NFT_RANGE_*.
type Range struct {
	Op       uint32
	Sreg     Register
	From, To string
}

// Name implements Expr.
func (Range) Name() string { return "range" }

func (e *Range) attributes(c *codec) {
	c.register(unix.NFTA_RANGE_SREG, &e.Sreg)
	c.u32(unix.NFTA_RANGE_OP, &e.Op)
	c.data(unix.NFTA_RANGE_FROM_DATA, &e.From)
	c.data(unix.NFTA_RANGE_TO_DATA, &e.To)
}

// Lookup goes on if a set has the key that registers hold. With Dreg it loads what a map has for
// the key: with RegVerdict a verdict.
type Lookup struct {
	Set   string
	Sreg  Register
	Dreg  Optional
	Flags uint32 // NFT_LOOKUP_F_INV
}

// Name implements Expr.
func (Lookup) Name() string { return "lookup" }

func (e *Lookup) attributes(c *codec) {
	c.text(unix.NFTA_LOOKUP_SET, &e.Set)
	c.register(unix.NFTA_LOOKUP_SREG, &e.Sreg)
	c.present(unix.NFTA_LOOKUP_DREG, 4, &e.Dreg)
	c.ignore(unix.NFTA_LOOKUP_SET_ID) // names a set made in the same transaction
	c.optional32(unix.NFTA_LOOKUP_FLAGS, &e.Flags)
}

// Dynset adds the key that registers hold to a set, or changes or deletes it there.
type Dynset struct {
	Set      string
	Op       uint32 // NFT_DYNSET_OP_*
	SregKey  Register
	SregData Register // of a map
	Timeout  uint64   // milliseconds
	Flags    uint32   // NFT_DYNSET_F_INV
	Exprs    [maxNested]Expr
}

// Name implements Expr.
func (Dynset) Name() string { return "dynset" }

func (e *Dynset) attributes(c *codec) {
	c.text(unix.NFTA_DYNSET_SET_NAME, &e.Set)
	c.ignore(unix.NFTA_DYNSET_SET_ID)
	c.u32(unix.NFTA_DYNSET_OP, &e.Op)
	c.register(unix.NFTA_DYNSET_SREG_KEY, &e.SregKey)
	c.register(unix.NFTA_DYNSET_SREG_DATA, &e.SregData)
	c.optional64(unix.NFTA_DYNSET_TIMEOUT, &e.Timeout)
	c.expressions(unix.NFTA_DYNSET_EXPR, dynsetExpressions, &e.Exprs)
	c.optional32(unix.NFTA_DYNSET_FLAGS, &e.Flags)
}
