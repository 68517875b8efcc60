// Package netlink is the one place that talks netlink: it asks, dumps, commits and listens.
//
// How it works: a Conn is a socket over a Transport, which is the kernel's or a test's. Ask sends a
// Request and hands over the Messages that answer it; Table reads whole tables, again if that must
// be; Batch commits a transaction; Join and Receive listen to a group. An Encoder writes messages;
// Each and Parse read attributes. Decoders get byte slices and nothing else, so they can be tested,
// and fuzzed, without a kernel. OneGeneration is for readers of nf_tables.
//
// It never interprets what it carries, never repeats a change by itself, and never moves the
// caller's thread to another namespace.
//
// # Defences
//
// The kernel answers in ways that are easily taken for success. Each way is met here, once:
//
//	defence                           who relies on it             test
//	the sender is the kernel (port 0) all; watch, denied above all TestOnlyTheKernelAnswers,
//	                                                               TestForgedAnswer
//	datagrams larger than the buffer  all                          TestMalformedDatagrams
//	malformed messages, attributes    all                          TestMalformedDatagrams,
//	                                                               TestMalformedAttributes,
//	                                                               FuzzMessages
//	late answers to earlier requests  nft; sockets (Pool)          TestOnlyTheKernelAnswers,
//	                                                               TestBatch
//	an errno in NLMSG_DONE            all that dump                TestErrorOf, TestTable
//	NLM_F_DUMP_INTR, in the end too   all that dump                TestTable
//	ENOBUFS: an overrun               Table: again; Batch: no      TestTable, TestBatch
//	                                  answer; watch: a loss
//	EINTR                             all                          TestOnlyTheKernelAnswers
//	a dump that its reader gave up    nft; exposure (Redial)       TestGivenUpDump,
//	                                                               TestDumpAfterOneThatWasGivenUp
//	a context ends a wait             exposure, xt, connections    TestContextEndsAWait
//	generations not yet in use        nft, xt, exposure,           TestOneGeneration, TestSettle;
//	(OneGeneration, Settle)           connections                  that of nft, xt
//	hash tables sorted meanwhile      nft, exposure                TestReadAgainUntilNoneRepeats
//	(nftables.UntilNoneRepeats)
//	the socket's namespace            sockets (In); nft (Another)  TestNamespaces,
//	                                                               TestNamespaceThatIsNone
//	dumps fill 32 KiB                 nft, xt, exposure            BenchmarkDump
//	buffers beyond the limits         nft, watch, denied           TestBuffers
//	attributes beyond a uint16        nft, xt                      TestAttributeThatOverflows
//	the kernel's words (EXT_ACK)      nft                          TestErrorOf,
//	                                                               TestTheKernelsOwnWords
//	requests not echoed (CAP_ACK)     nft, xt                      TestRefusalOfALargeRequest
//	strict checks of requests         sockets, hostview            TestTheKernelsOwnWords
//	one mapping of errors             all                          TestErrors, TestNotAllowed
//	no poller before the reader       watch                        TestGroup
//
// # Roads not taken
//
// mdlayher/netlink would do for the socket, but not for what comes out of it: it does not look at
// the sender, drops NLMSG_DONE with its flags (an interruption that only the end tells is lost),
// copies each datagram (1.7 MB for a dump of 100 000 elements, where a Conn takes 13 kB) and puts
// every socket on Go's poller, which package watch can't use. ti-mo/conntrack reads through it, so
// it can't tell an interrupted dump from a whole one. vishvananda/netlink hides attributes that it
// doesn't know, and rules with such ones must not be taken for others; it opens its sockets on
// whatever thread runs.
package netlink
