//go:build guest

package bipd

import (
	"math/rand/v2"
	"testing"

	"bipd/internal/guest"
	"bipd/internal/netbed"
)

func TestMain(m *testing.M) {
	netbed.Enter() // in the guest, programs are started in namespaces through this one
	guest.Main(m)
}

// serverAddress is of a range for documentation (RFC 5737).
const serverAddress = "203.0.113.80"

// fileOf is what is downloaded: the same on the host, which compares, and in the guest, which serves it.
func fileOf(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{'b', 'i', 'p'}).Read(b)
	return b
}
