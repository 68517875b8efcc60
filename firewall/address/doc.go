// Package address is the one algebra of address sets: every package that unites, intersects,
// compares or stores addresses does it here.
//
//	Range[N]    some neighbouring numbers, both ends included
//	Ranges[N]   an immutable set of numbers of one width: ranges in order that never touch
//	Set         an immutable set of addresses of both families: Ranges of V4 and Ranges of V6
//	Builder     makes a Set of prefixes and ranges in any order
//	List        addresses one by one, in order: the elements of a hash set of a kernel
//
// N is V4 or V6. An IPv4 range takes 8 bytes and an IPv6 range takes 32, so a million of them take
// 8 MB and 32 MB. A set of 128-bit values that are no addresses (package exposure) is Ranges too.
//
// Each set has one form, so Equal is exact. Union, Minus and Intersect walk over both operands
// once. They find long stretches that one operand alone has by doubling steps, and copy them whole,
// so changing a few ranges of a million takes about as long as copying them. A result that equals
// an operand is that operand: it shares its memory. Prefixes are worked out as they are asked for.
//
// Nothing here reads or writes anything outside memory, and nothing modifies a set after it was
// made, so sets may be shared between goroutines.
package address
