// Package netbed is a bed of network namespaces for the demo and the tests: hosts, links between them, and programs
// that run on a host. The program makes them itself, without the ip program and without names in the file system,
// so nothing is left when it ends.
//
// It needs CAP_SYS_ADMIN and CAP_NET_ADMIN. A program without them gets them by Reexec, in a user namespace of its
// own. A program that uses Host.Command calls Enter or Reexec first of all in main or TestMain.
package netbed
