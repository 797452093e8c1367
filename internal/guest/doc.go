// Package guest boots a QEMU guest with Debian's stock kernel and runs a Go test binary in it, for what a test cannot have
// on the machine it runs on: USB readers, kernel modules, the kernel's own 27.010, radios. It needs no root: the kernel comes
// from its package, which is downloaded and unpacked into a cache but never installed, and the machine is emulated.
//
// A suite is a package of tests with the build tag guest. The same binary runs on the host, where it boots guests, and in
// the guest, where it is the first process and runs what the host asks for:
//
//	func TestMain(m *testing.M) { guest.Main(m) }
//
//	func TestReader(t *testing.T) { // on the host
//		g := guest.Start(t, guest.Config{Modules: []string{"xhci-pci"}, Devices: []string{"qemu-xhci,id=usb"}})
//		g.Run(t, "TestInsideReader")
//	}
//
//	func TestInsideReader(t *testing.T) { ... } // in the guest alone, for its name begins with TestInside
//
// Tests in the guest run as root, with lo up and the modules loaded. They reach the host by [Ask] and what the host set with
// [Guest.Handle], so a card can be pulled in the middle of a test.
//
// Suites need static binaries: CGO_ENABLED=0.
package guest
