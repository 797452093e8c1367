package ccidemu

import "bipd/ccid/usbfs"

// packet is one packet of an IN endpoint, or a stall instead.
type packet struct {
	data  []byte
	last  bool // the transfer ends here although the packet is full
	stall bool
}

// request is an IN transfer that the host waits for. done is called once, with the reader's lock held.
type request struct {
	room int
	got  []byte
	done func(data []byte, err error)
}

// pipe is an IN endpoint with its queue on either side (USB 2.0 clause 5.8.3): a transfer ends when its room is full, or
// with a packet that is shorter than the endpoint's packets. The reader's lock guards it.
type pipe struct {
	size     int // of a full packet
	packets  []packet
	requests []*request
}

// message queues the packets of one message. zlp ends it by a packet without data where its last packet is full, as the
// standard has it.
func (p *pipe) message(b []byte, zlp bool) {
	for len(b) >= p.size {
		p.packets = append(p.packets, packet{data: b[:p.size:p.size]})
		b = b[p.size:]
	}
	if len(b) > 0 || zlp {
		p.packets = append(p.packets, packet{data: b})
	}
}

func (p *pipe) submit(q *request) {
	p.requests = append(p.requests, q)
	p.pump()
}

// pump moves packets into waiting requests.
func (p *pipe) pump() {
	for len(p.requests) > 0 && len(p.packets) > 0 {
		q, k := p.requests[0], p.packets[0]
		p.packets = p.packets[1:]
		switch {
		case k.stall:
			p.finish(q, usbfs.ErrStall)
		case len(q.got)+len(k.data) > q.room:
			p.finish(q, usbfs.ErrOverflow)
		default:
			q.got = append(q.got, k.data...)
			if len(k.data) < p.size || k.last || len(q.got) == q.room {
				p.finish(q, nil)
			}
		}
	}
}

func (p *pipe) finish(q *request, err error) {
	p.cancel(q)
	q.done(q.got, err)
}

// cancel takes a request back; it reports whether it was still waiting. What it has got stays in it.
func (p *pipe) cancel(q *request) bool {
	for i, r := range p.requests {
		if r == q {
			p.requests = append(p.requests[:i:i], p.requests[i+1:]...)
			return true
		}
	}
	return false
}

// fail ends all that waits, on both sides.
func (p *pipe) fail(err error) {
	p.packets = nil
	for len(p.requests) > 0 {
		p.finish(p.requests[0], err)
	}
}
