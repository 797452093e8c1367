package ap

import "net"

// dlc is a channel's DLC. One read is always under way before it is coupled, so that its end is noticed while the
// connection is made; what the read brings waits for the first Read.
type dlc struct {
	net.Conn
	read  chan struct{} // closed when the first read is over; then buf and err are set
	ended chan struct{} // closed when the first read brought the end
	buf   []byte
	err   error
}

// watch starts the first read.
func (l *line) watch(c net.Conn) *dlc {
	d := &dlc{Conn: c, read: make(chan struct{}), ended: make(chan struct{})}
	l.running.Go(func() {
		buf := make([]byte, 2048)
		n, err := c.Read(buf)
		d.buf, d.err = buf[:n], err
		if err != nil {
			c.Close()
			close(d.ended)
		}
		close(d.read)
	})
	return d
}

// over tells whether the CP has closed the DLC before it was used.
func (d *dlc) over() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// Read implements net.Conn, for one reader.
func (d *dlc) Read(p []byte) (int, error) {
	<-d.read
	switch {
	case len(d.buf) > 0:
		n := copy(p, d.buf)
		d.buf = d.buf[n:]
		return n, nil
	case d.err != nil:
		return 0, d.err
	}
	return d.Conn.Read(p)
}
