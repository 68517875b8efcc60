package nftables

import (
	"github.com/portgrave/portgrave/firewall/netlink"
	"golang.org/x/sys/unix"
)

// Expr is one expression of a rule. Its dynamic type is one of this package's structs, by value, so
// that two of them can be compared.
type Expr interface {
	// Name is the kernel's: "payload".
	Name() string
}

// Unknown is an expression that this package has no type for, or that doesn't fit its type.
type Unknown struct {
	Kind string // its name; "" if not even that can be read
	Data string // NFTA_EXPR_DATA, or all of a nameless expression
}

// Name implements Expr.
func (u Unknown) Name() string { return u.Kind }

// Register is a register as the kernel numbers them: NFT_REG_1 to NFT_REG_4 hold 16 bytes each,
// NFT_REG32_00 and the following ones four of the same bytes. NFT_REG_VERDICT is zero.
type Register uint32

// Registers that rules of ours use.
const (
	RegVerdict Register = unix.NFT_REG_VERDICT
	Reg1       Register = unix.NFT_REG_1
)

// registerBytes is how many bytes the data registers hold together.
const registerBytes = 64

// Offset is the first of the register's bytes among those of all registers; false for the verdict
// register, and for numbers that name none.
func (r Register) Offset() (int, bool) {
	switch {
	case r >= unix.NFT_REG_1 && r <= unix.NFT_REG_4:
		return 16 * int(r-unix.NFT_REG_1), true
	case r >= unix.NFT_REG32_00 && r <= unix.NFT_REG32_15:
		return 4 * int(r-unix.NFT_REG32_00), true
	}
	return 0, false
}

// Optional is a number that may not be there.
type Optional struct {
	Set   bool
	Value uint32
}

// Is reports whether the number is there and has the value.
func (o Optional) Is(value uint32) bool { return o == Optional{true, value} }

// typ reads and writes the expressions of one type.
type typ struct {
	read  func(*codec) Expr
	write func(*codec, Expr)
}

// lister is a pointer to an expression that can list its attributes.
type lister[T any] interface {
	*T
	attributes(*codec)
}

func typeOf[T Expr, P lister[T]]() typ {
	return typ{
		read: func(c *codec) Expr {
			var e T
			P(&e).attributes(c)
			return e
		},
		write: func(c *codec, e Expr) {
			x := e.(T)
			P(&x).attributes(c)
		},
	}
}

// types are the known expressions by name.
var types map[string]typ

func init() { // some expressions hold others
	types = map[string]typ{}
	for _, t := range []typ{
		typeOf[Meta](), typeOf[CT](), typeOf[Payload](), typeOf[FIB](), typeOf[Exthdr](),
		typeOf[RT](),
		typeOf[Socket](), typeOf[OSF](), typeOf[XFRM](), typeOf[Tunnel](), typeOf[Numgen](),
		typeOf[Hash](), typeOf[Immediate](), typeOf[Bitwise](), typeOf[Byteorder](), typeOf[Cmp](),
		typeOf[Range](), typeOf[Lookup](), typeOf[Dynset](), typeOf[Objref](), typeOf[Counter](),
		typeOf[Limit](), typeOf[Quota](), typeOf[Connlimit](), typeOf[Last](), typeOf[Log](),
		typeOf[Reject](), typeOf[NAT](), typeOf[Masquerade](), typeOf[Redirect](), typeOf[TProxy](),
		typeOf[Queue](), typeOf[Dup](), typeOf[Forward](), typeOf[Notrack](), typeOf[FlowOffload](),
		typeOf[Synproxy](), typeOf[XTMatch](), typeOf[XTTarget](),
	} {
		types[t.read(&codec{}).Name()] = t
	}
}

// DecodeExpr reads an NFTA_EXPR_NAME, NFTA_EXPR_DATA pair. It takes any bytes.
func DecodeExpr(b []byte) Expr {
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	c.parse(b)
	raw, data := c.take(unix.NFTA_EXPR_NAME), c.take(unix.NFTA_EXPR_DATA)
	name := netlink.CString(raw)
	if !c.fits() || len(name) == 0 || len(name) < len(raw)-1 {
		return Unknown{Data: string(b)}
	}
	return decodeNamed(string(name), data)
}

// decodeNamed reads an expression's NFTA_EXPR_DATA.
func decodeNamed(name string, data []byte) Expr {
	t, ok := types[name]
	if !ok {
		return Unknown{name, string(data)}
	}
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	c.parse(data)
	e := t.read(c)
	if !c.fits() {
		return Unknown{name, string(data)}
	}
	return e
}

// AppendExpr writes the pair that DecodeExpr reads.
func AppendExpr(b []byte, e Expr) []byte {
	if u, ok := e.(Unknown); ok {
		if u.Kind == "" {
			return append(b, u.Data...)
		}
		b = netlink.AppendString(b, unix.NFTA_EXPR_NAME, u.Kind)
		if u.Data == "" {
			return b
		}
		return netlink.AppendBytes(b, unix.NFTA_EXPR_DATA|unix.NLA_F_NESTED, []byte(u.Data))
	}
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	*c = codec{writing: true, out: netlink.AppendString(b, unix.NFTA_EXPR_NAME, e.Name())}
	at := c.nest(unix.NFTA_EXPR_DATA)
	types[e.Name()].write(c, e)
	c.unnest(at)
	return c.out
}

// Equal reports whether two expressions do the same. What has been counted so far is no difference.
func Equal(a, b Expr) bool { return a == b || uncounted(a) == uncounted(b) }

// uncounted is an expression that has counted nothing yet.
func uncounted(e Expr) Expr {
	switch e := e.(type) {
	case Counter:
		return Counter{}
	case Last:
		return Last{}
	case Quota:
		e.Consumed = 0
		return e
	case Dynset:
		for i, x := range e.Exprs {
			e.Exprs[i] = uncounted(x)
		}
		return e
	}
	return e
}
