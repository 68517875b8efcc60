package nftables

import "golang.org/x/sys/unix"

// maxNested is how many expressions the kernel attaches to a set's elements (NFT_SET_EXPR_MAX).
const maxNested = 2

// Attributes that x/sys/unix lacks (include/uapi/linux/netfilter/nf_tables.h).
const (
	socketKey   = 1 // NFTA_SOCKET_KEY
	socketDreg  = 2 // NFTA_SOCKET_DREG
	socketLevel = 3 // NFTA_SOCKET_LEVEL

	osfDreg  = 1 // NFTA_OSF_DREG
	osfTTL   = 2 // NFTA_OSF_TTL
	osfFlags = 3 // NFTA_OSF_FLAGS

	xfrmDreg      = 1 // NFTA_XFRM_DREG
	xfrmKey       = 2 // NFTA_XFRM_KEY
	xfrmDirection = 3 // NFTA_XFRM_DIR
	xfrmSPNum     = 4 // NFTA_XFRM_SPNUM

	tunnelKey  = 1 // NFTA_TUNNEL_KEY
	tunnelDreg = 2 // NFTA_TUNNEL_DREG
	tunnelMode = 3 // NFTA_TUNNEL_MODE

	hashSetName = 8 // NFTA_HASH_SET_NAME
	hashSetID   = 9 // NFTA_HASH_SET_ID
)

// Expressions that load a register, or that write what a register holds: net/netfilter/nft_*.c.

// Meta loads what the kernel knows of a packet beside its bytes, or with Sreg sets it.
type Meta struct {
	Key        uint32 // NFT_META_*
	Dreg, Sreg Register
}

// Name implements Expr.
func (Meta) Name() string { return "meta" }

func (e *Meta) attributes(c *codec) {
	c.register(unix.NFTA_META_DREG, &e.Dreg)
	c.u32(unix.NFTA_META_KEY, &e.Key)
	c.register(unix.NFTA_META_SREG, &e.Sreg)
}

// CT loads something of the packet's connection, or with Sreg sets it.
type CT struct {
	Key        uint32 // NFT_CT_*
	Dreg, Sreg Register
	Direction  Optional // IP_CT_DIR_*, for keys that each direction has
}

// Name implements Expr.
func (CT) Name() string { return "ct" }

func (e *CT) attributes(c *codec) {
	c.register(unix.NFTA_CT_DREG, &e.Dreg)
	c.u32(unix.NFTA_CT_KEY, &e.Key)
	c.present(unix.NFTA_CT_DIRECTION, 1, &e.Direction)
	c.register(unix.NFTA_CT_SREG, &e.Sreg)
}

// Payload loads bytes of a packet, or with Sreg writes them.
type Payload struct {
	Base, Offset, Len               uint32 // NFT_PAYLOAD_*; bytes
	Dreg, Sreg                      Register
	CsumType, CsumOffset, CsumFlags uint32 // which checksum to mend
}

// Name implements Expr.
func (Payload) Name() string { return "payload" }

func (e *Payload) attributes(c *codec) {
	c.register(unix.NFTA_PAYLOAD_DREG, &e.Dreg)
	c.u32(unix.NFTA_PAYLOAD_BASE, &e.Base)
	c.u32(unix.NFTA_PAYLOAD_OFFSET, &e.Offset)
	c.u32(unix.NFTA_PAYLOAD_LEN, &e.Len)
	c.register(unix.NFTA_PAYLOAD_SREG, &e.Sreg)
	c.optional32(unix.NFTA_PAYLOAD_CSUM_TYPE, &e.CsumType)
	c.optional32(unix.NFTA_PAYLOAD_CSUM_OFFSET, &e.CsumOffset)
	c.optional32(unix.NFTA_PAYLOAD_CSUM_FLAGS, &e.CsumFlags)
}

// FIB loads what the routing table says of an address.
type FIB struct {
	Dreg   Register
	Result uint32 // NFT_FIB_RESULT_*
	Flags  uint32 // NFTA_FIB_F_*
}

// Name implements Expr.
func (FIB) Name() string { return "fib" }

func (e *FIB) attributes(c *codec) {
	c.register(unix.NFTA_FIB_DREG, &e.Dreg)
	c.u32(unix.NFTA_FIB_RESULT, &e.Result)
	c.u32(unix.NFTA_FIB_FLAGS, &e.Flags)
}

// Exthdr loads a part of an extension header or option, or with Sreg writes it; with neither it
// takes a TCP option away.
type Exthdr struct {
	Op          uint32 // NFT_EXTHDR_OP_*
	Type        uint8
	Offset, Len uint32
	Flags       uint32 // NFT_EXTHDR_F_PRESENT
	Dreg, Sreg  Register
}

// Name implements Expr.
func (Exthdr) Name() string { return "exthdr" }

func (e *Exthdr) attributes(c *codec) {
	c.register(unix.NFTA_EXTHDR_DREG, &e.Dreg)
	c.optional8(unix.NFTA_EXTHDR_TYPE, &e.Type)
	c.u32(unix.NFTA_EXTHDR_OFFSET, &e.Offset)
	c.u32(unix.NFTA_EXTHDR_LEN, &e.Len)
	c.optional32(unix.NFTA_EXTHDR_FLAGS, &e.Flags)
	c.optional32(unix.NFTA_EXTHDR_OP, &e.Op)
	c.register(unix.NFTA_EXTHDR_SREG, &e.Sreg)
}

// RT loads something of the packet's route.
type RT struct {
	Dreg Register
	Key  uint32 // NFT_RT_*
}

// Name implements Expr.
func (RT) Name() string { return "rt" }

func (e *RT) attributes(c *codec) {
	c.register(unix.NFTA_RT_DREG, &e.Dreg)
	c.u32(unix.NFTA_RT_KEY, &e.Key)
}

// Socket loads something of the socket that a packet is for.
type Socket struct {
	Key   uint32 // NFT_SOCKET_*
	Dreg  Register
	Level uint32 // of the control group
}

// Name implements Expr.
func (Socket) Name() string { return "socket" }

func (e *Socket) attributes(c *codec) {
	c.u32(socketKey, &e.Key)
	c.register(socketDreg, &e.Dreg)
	c.optional32(socketLevel, &e.Level)
}

// OSF loads the name of the operating system that a packet seems to come from.
type OSF struct {
	Dreg  Register
	TTL   uint8
	Flags uint32
}

// Name implements Expr.
func (OSF) Name() string { return "osf" }

func (e *OSF) attributes(c *codec) {
	c.register(osfDreg, &e.Dreg)
	c.optional8(osfTTL, &e.TTL)
	c.optional32(osfFlags, &e.Flags)
}

// XFRM loads something of the packet's IPsec state.
type XFRM struct {
	Dreg      Register
	Key       uint32
	Direction uint8
	SPNum     uint32
}

// Name implements Expr.
func (XFRM) Name() string { return "xfrm" }

func (e *XFRM) attributes(c *codec) {
	c.register(xfrmDreg, &e.Dreg)
	c.u32(xfrmKey, &e.Key)
	c.optional8(xfrmDirection, &e.Direction)
	c.optional32(xfrmSPNum, &e.SPNum)
}

// Tunnel loads something of the tunnel that a packet came through.
type Tunnel struct {
	Key  uint32
	Dreg Register
	Mode uint32
}

// Name implements Expr.
func (Tunnel) Name() string { return "tunnel" }

func (e *Tunnel) attributes(c *codec) {
	c.u32(tunnelKey, &e.Key)
	c.register(tunnelDreg, &e.Dreg)
	c.optional32(tunnelMode, &e.Mode)
}

// Numgen loads a number that counts up, or a random one.
type Numgen struct {
	Dreg                  Register
	Modulus, Type, Offset uint32 // NFT_NG_*
}

// Name implements Expr.
func (Numgen) Name() string { return "numgen" }

func (e *Numgen) attributes(c *codec) {
	c.register(unix.NFTA_NG_DREG, &e.Dreg)
	c.u32(unix.NFTA_NG_MODULUS, &e.Modulus)
	c.u32(unix.NFTA_NG_TYPE, &e.Type)
	c.optional32(unix.NFTA_NG_OFFSET, &e.Offset)
}

// Hash loads a hash of what registers hold, or with NFT_HASH_SYM of both ends of the connection.
type Hash struct {
	Sreg, Dreg                       Register
	Len, Modulus, Seed, Offset, Type uint32
	Set                              string
}

// Name implements Expr.
func (Hash) Name() string { return "hash" }

func (e *Hash) attributes(c *codec) {
	c.register(unix.NFTA_HASH_SREG, &e.Sreg)
	c.register(unix.NFTA_HASH_DREG, &e.Dreg)
	c.optional32(unix.NFTA_HASH_LEN, &e.Len)
	c.u32(unix.NFTA_HASH_MODULUS, &e.Modulus)
	c.optional32(unix.NFTA_HASH_SEED, &e.Seed)
	c.optional32(unix.NFTA_HASH_OFFSET, &e.Offset)
	c.optional32(unix.NFTA_HASH_TYPE, &e.Type)
	c.text(hashSetName, &e.Set)
	c.ignore(hashSetID)
}

// Immediate loads constant bytes, or into RegVerdict a verdict.
type Immediate struct {
	Dreg    Register
	Data    string
	Verdict Verdict
}

// Name implements Expr.
func (Immediate) Name() string { return "immediate" }

func (e *Immediate) attributes(c *codec) {
	dreg := uint32(e.Dreg)
	c.u32(unix.NFTA_IMMEDIATE_DREG, &dreg)
	e.Dreg = Register(dreg)
	if e.Dreg == RegVerdict {
		c.verdict(unix.NFTA_IMMEDIATE_DATA, &e.Verdict)
	} else {
		c.data(unix.NFTA_IMMEDIATE_DATA, &e.Data)
	}
}
