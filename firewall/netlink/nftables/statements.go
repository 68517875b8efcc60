package nftables

import "golang.org/x/sys/unix"

// Attributes that x/sys/unix lacks.
const (
	connlimitCount = 1 // NFTA_CONNLIMIT_COUNT
	connlimitFlags = 2 // NFTA_CONNLIMIT_FLAGS

	lastSet   = 1 // NFTA_LAST_SET
	lastMsecs = 2 // NFTA_LAST_MSECS

	tproxyFamily  = 1 // NFTA_TPROXY_FAMILY
	tproxyRegAddr = 2 // NFTA_TPROXY_REG_ADDR
	tproxyRegPort = 3 // NFTA_TPROXY_REG_PORT

	fwdSregAddr = 2 // NFTA_FWD_SREG_ADDR
	fwdNFProto  = 3 // NFTA_FWD_NFPROTO

	flowTableName = 1 // NFTA_FLOW_TABLE_NAME

	synproxyMSS    = 1 // NFTA_SYNPROXY_MSS
	synproxyWScale = 2 // NFTA_SYNPROXY_WSCALE
	synproxyFlags  = 3 // NFTA_SYNPROXY_FLAGS
)

// Expressions that do something with a packet: count, limit, log, refuse, translate, hand on.

// Counter counts packets. What it has counted is no part of what it does.
type Counter struct{ Bytes, Packets uint64 }

// Name implements Expr.
func (Counter) Name() string { return "counter" }

func (e *Counter) attributes(c *codec) {
	c.u64(unix.NFTA_COUNTER_BYTES, &e.Bytes)
	c.u64(unix.NFTA_COUNTER_PACKETS, &e.Packets)
}

// Limit goes on while packets, or bytes, come at most at a rate, or only while they come faster.
type Limit struct {
	Rate, Unit         uint64 // per so many seconds
	Burst, Type, Flags uint32 // NFT_LIMIT_*
}

// Name implements Expr.
func (Limit) Name() string { return "limit" }

func (e *Limit) attributes(c *codec) {
	c.u64(unix.NFTA_LIMIT_RATE, &e.Rate)
	c.u64(unix.NFTA_LIMIT_UNIT, &e.Unit)
	c.optional32(unix.NFTA_LIMIT_BURST, &e.Burst)
	c.optional32(unix.NFTA_LIMIT_TYPE, &e.Type)
	c.optional32(unix.NFTA_LIMIT_FLAGS, &e.Flags)
}

// Quota goes on until so many bytes have come, or only afterwards.
type Quota struct {
	Bytes, Consumed uint64
	Flags           uint32 // NFT_QUOTA_F_INV
}

// Name implements Expr.
func (Quota) Name() string { return "quota" }

func (e *Quota) attributes(c *codec) {
	c.u64(unix.NFTA_QUOTA_BYTES, &e.Bytes)
	c.optional32(unix.NFTA_QUOTA_FLAGS, &e.Flags)
	c.optional64(unix.NFTA_QUOTA_CONSUMED, &e.Consumed)
}

// Connlimit goes on while there are at most so many connections, or only while there are more.
type Connlimit struct{ Count, Flags uint32 }

// Name implements Expr.
func (Connlimit) Name() string { return "connlimit" }

func (e *Connlimit) attributes(c *codec) {
	c.u32(connlimitCount, &e.Count)
	c.optional32(connlimitFlags, &e.Flags)
}

// Last remembers when the last packet came.
type Last struct {
	Seen         uint32
	Milliseconds uint64
}

// Name implements Expr.
func (Last) Name() string { return "last" }

func (e *Last) attributes(c *codec) {
	c.optional32(lastSet, &e.Seen)
	c.optional64(lastMsecs, &e.Milliseconds)
}

// Log writes a line about the packet: to the kernel's log, or to a group's listener.
type Log struct {
	Group          Optional
	Prefix         string
	Snaplen        uint32
	QueueThreshold uint16
	Level          Optional
	Flags          uint32
}

// Name implements Expr.
func (Log) Name() string { return "log" }

func (e *Log) attributes(c *codec) {
	c.present(unix.NFTA_LOG_GROUP, 2, &e.Group)
	c.text(unix.NFTA_LOG_PREFIX, &e.Prefix)
	c.optional32(unix.NFTA_LOG_SNAPLEN, &e.Snaplen)
	c.optional16(unix.NFTA_LOG_QTHRESHOLD, &e.QueueThreshold)
	c.present(unix.NFTA_LOG_LEVEL, 4, &e.Level)
	c.optional32(unix.NFTA_LOG_FLAGS, &e.Flags)
}

// Reject answers that the packet is refused.
type Reject struct {
	Type uint32 // NFT_REJECT_*
	Code uint8
}

// Name implements Expr.
func (Reject) Name() string { return "reject" }

func (e *Reject) attributes(c *codec) {
	c.u32(unix.NFTA_REJECT_TYPE, &e.Type)
	c.optional8(unix.NFTA_REJECT_ICMP_CODE, &e.Code)
}

// NAT translates the source or the destination.
type NAT struct {
	Type, Family       uint32 // NFT_NAT_*, NFPROTO_*
	AddrMin, AddrMax   Register
	ProtoMin, ProtoMax Register
	Flags              uint32 // NF_NAT_RANGE_*
}

// Name implements Expr.
func (NAT) Name() string { return "nat" }

func (e *NAT) attributes(c *codec) {
	c.u32(unix.NFTA_NAT_TYPE, &e.Type)
	c.u32(unix.NFTA_NAT_FAMILY, &e.Family)
	c.register(unix.NFTA_NAT_REG_ADDR_MIN, &e.AddrMin)
	c.register(unix.NFTA_NAT_REG_ADDR_MAX, &e.AddrMax)
	c.register(unix.NFTA_NAT_REG_PROTO_MIN, &e.ProtoMin)
	c.register(unix.NFTA_NAT_REG_PROTO_MAX, &e.ProtoMax)
	c.optional32(unix.NFTA_NAT_FLAGS, &e.Flags)
}

// Masquerade translates the source to the address of the interface by which the packet leaves.
type Masquerade struct {
	Flags              uint32
	ProtoMin, ProtoMax Register
}

// Name implements Expr.
func (Masquerade) Name() string { return "masq" }

func (e *Masquerade) attributes(c *codec) {
	c.optional32(unix.NFTA_MASQ_FLAGS, &e.Flags)
	c.register(unix.NFTA_MASQ_REG_PROTO_MIN, &e.ProtoMin)
	c.register(unix.NFTA_MASQ_REG_PROTO_MAX, &e.ProtoMax)
}

// Redirect translates the destination to the host itself.
type Redirect struct {
	ProtoMin, ProtoMax Register
	Flags              uint32
}

// Name implements Expr.
func (Redirect) Name() string { return "redir" }

func (e *Redirect) attributes(c *codec) {
	c.register(unix.NFTA_REDIR_REG_PROTO_MIN, &e.ProtoMin)
	c.register(unix.NFTA_REDIR_REG_PROTO_MAX, &e.ProtoMax)
	c.optional32(unix.NFTA_REDIR_FLAGS, &e.Flags)
}

// TProxy hands the packet to a socket of this host as it is.
type TProxy struct {
	Family     uint32
	Addr, Port Register
}

// Name implements Expr.
func (TProxy) Name() string { return "tproxy" }

func (e *TProxy) attributes(c *codec) {
	c.u32(tproxyFamily, &e.Family)
	c.register(tproxyRegAddr, &e.Addr)
	c.register(tproxyRegPort, &e.Port)
}

// Queue lets a program decide.
type Queue struct {
	Num, Total, Flags uint16
	Sreg              Register // holds the number
}

// Name implements Expr.
func (Queue) Name() string { return "queue" }

func (e *Queue) attributes(c *codec) {
	c.optional16(unix.NFTA_QUEUE_NUM, &e.Num)
	c.optional16(unix.NFTA_QUEUE_TOTAL, &e.Total)
	c.optional16(unix.NFTA_QUEUE_FLAGS, &e.Flags)
	c.register(unix.NFTA_QUEUE_SREG_QNUM, &e.Sreg)
}

// Dup sends a copy of the packet to an address.
type Dup struct{ Addr, Dev Register }

// Name implements Expr.
func (Dup) Name() string { return "dup" }

func (e *Dup) attributes(c *codec) {
	c.register(unix.NFTA_DUP_SREG_ADDR, &e.Addr)
	c.register(unix.NFTA_DUP_SREG_DEV, &e.Dev)
}

// Forward sends the packet out by an interface.
type Forward struct {
	Dev, Addr Register
	Family    uint32
}

// Name implements Expr.
func (Forward) Name() string { return "fwd" }

func (e *Forward) attributes(c *codec) {
	c.register(unix.NFTA_FWD_SREG_DEV, &e.Dev)
	c.register(fwdSregAddr, &e.Addr)
	c.optional32(fwdNFProto, &e.Family)
}

// Notrack keeps the packet from conntrack.
type Notrack struct{}

// Name implements Expr.
func (Notrack) Name() string { return "notrack" }

func (e *Notrack) attributes(*codec) {}

// FlowOffload lets a flowtable take over the connection.
type FlowOffload struct{ Table string }

// Name implements Expr.
func (FlowOffload) Name() string { return "flow_offload" }

func (e *FlowOffload) attributes(c *codec) { c.text(flowTableName, &e.Table) }

// Synproxy answers TCP's first packet in the server's place.
type Synproxy struct {
	MSS    uint16
	WScale uint8
	Flags  uint32
}

// Name implements Expr.
func (Synproxy) Name() string { return "synproxy" }

func (e *Synproxy) attributes(c *codec) {
	c.optional16(synproxyMSS, &e.MSS)
	c.optional8(synproxyWScale, &e.WScale)
	c.optional32(synproxyFlags, &e.Flags)
}

// Objref applies an object of the table, or with Sreg the one that a map names.
type Objref struct {
	Type   uint32 // NFT_OBJECT_*
	Object string
	Sreg   Register
	Set    string
}

// Name implements Expr.
func (Objref) Name() string { return "objref" }

func (e *Objref) attributes(c *codec) {
	c.optional32(unix.NFTA_OBJREF_IMM_TYPE, &e.Type)
	c.text(unix.NFTA_OBJREF_IMM_NAME, &e.Object)
	c.register(unix.NFTA_OBJREF_SET_SREG, &e.Sreg)
	c.text(unix.NFTA_OBJREF_SET_NAME, &e.Set)
	c.ignore(unix.NFTA_OBJREF_SET_ID)
}

// XTMatch and XTTarget are matches and targets of iptables, with the bytes that they bring.
type (
	XTMatch struct {
		Match    string
		Revision uint32
		Info     string
	}
	XTTarget struct {
		Target   string
		Revision uint32
		Info     string
	}
)

// Name implements Expr.
func (XTMatch) Name() string { return "match" }

// Name implements Expr.
func (XTTarget) Name() string { return "target" }

func (e *XTMatch) attributes(c *codec) {
	c.text(unix.NFTA_MATCH_NAME, &e.Match)
	c.u32(unix.NFTA_MATCH_REV, &e.Revision)
	c.raw(unix.NFTA_MATCH_INFO, &e.Info)
}

func (e *XTTarget) attributes(c *codec) {
	c.text(unix.NFTA_TARGET_NAME, &e.Target)
	c.u32(unix.NFTA_TARGET_REV, &e.Revision)
	c.raw(unix.NFTA_TARGET_INFO, &e.Info)
}
