// Package boot tests that a guest boots and has what the other suites build on: modules, TUN, network namespaces, and the
// kernel's 27.010.
package boot
