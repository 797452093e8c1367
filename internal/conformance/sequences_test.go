package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"

	"bipd/bip"
	"bipd/cat"
)

// plan is what a sequence needs beside its bytes.
type plan struct {
	skip   string                  // why it cannot run here
	needs  cat.Facility            // the sequence is about this; without it, instead is the case
	script error                   // of every connection
	values map[string]string       // for templates, in hexadecimal digits
	before func(p *player)         // what the sequence takes for granted
	steps  map[int]func(p *player) // of the network, and of steps whose bytes depend on it
	accept map[int][]string        // other answers than the step's that its notes allow, whole
	free   map[int]string          // steps that may be left out, with the reason
}

// player plays one sequence's part of the card.
type player struct {
	*app
	plan     plan
	far      *farEnd
	response []byte // of the command before
}

func testSequences(t *testing.T) {
	for _, s := range loadSequences(t) {
		check(t, s.Clause, s.ID, func(k *testCase) {
			p := plans[s.ID]
			if p.skip != "" {
				k.Skipf("%s", p.skip)
			}
			if p.needs != (cat.Facility{}) && !portFree(serverPort) {
				k.Skipf("port %d, which the sequence names, is in use on this machine", serverPort)
			}
			net := newNetwork()
			if p.script != nil {
				net.script = func(context.Context, bip.Request) error { return p.script }
			}
			config := bip.Config{BufferLimit: 4000}
			missing := false
			play(k, options{net: net, config: config}, func(a *app) {
				if f := p.needs; f != (cat.Facility{}) && !a.has(f) {
					missing = true
					a.refusedOpen(server(serverPort), 0, 0x3A, 0x06)
					return
				}
				pl := &player{app: a, plan: p}
				if p.before != nil {
					p.before(pl)
				}
				for i, st := range s.Steps {
					pl.step(st, s.Steps[i+1:])
				}
				pl.noEvent()
			})
			if missing && !k.Failed() {
				k.Skipf("not built yet: octet %d bit %d of TERMINAL PROFILE is clear; OPEN CHANNEL was answered 3A 06, as it has to be", p.needs.Octet, p.needs.Bit)
			}
		})
	}
}

// step plays one step; the steps behind it tell how long the card has to wait.
func (p *player) step(s step, rest []step) {
	act, special := p.plan.steps[s.N]
	switch s.kind() {
	case "command":
		p.command(s)
	case "response":
		p.expect(s, plain(p.response), func(want string) string { return plain(unhex(want)) })
	case "fetch":
		// the command that follows is fetched by it: see command
	case "status word":
		if s.Hex == "9000" && len(rest) > 0 { // the end of a chain: the terminal has its turn
			p.listen(rest[0].kind() == "envelope")
		}
	case "envelope":
		p.envelope(s)
	case "net":
		if !special {
			p.fail("step %d: no script for %q", s.N, s.What)
		}
	}
	if special {
		act(p)
	}
}

// listen waits for the terminal to come to rest, unless an envelope is to come.
func (p *player) listen(envelope bool) {
	if !envelope {
		p.settle()
	}
}

func (p *player) command(s step) {
	h := s.Hex
	if s.Template {
		var err error
		h, err = fill(s.Hex, p.values(s))
		p.must(err)
	}
	command := unhex(h)
	var err error
	p.response, err = p.tk.DoRaw(p.ctx, command)
	p.must(err)
	fetch := p.b.rec.last(insFetch).capdu
	if want := []byte{0x80, 0x12, 0x00, 0x00, byte(len(command))}; !bytes.Equal(fetch, want) {
		p.fail("step %d: fetched with %X, want %X", s.N, fetch, want)
	}
}

// values are the plan's, and those that differ from step to step under the step's number.
func (p *player) values(s step) map[string]string {
	all := map[string]string{}
	for name, v := range p.plan.values {
		if at, key, ok := strings.Cut(name, "@"); !ok {
			all[name] = v
		} else if key == fmt.Sprint(s.N) {
			all[at] = v
		}
	}
	return all
}

// expect compares a message with the step's, object by object, b8 of the tags and the terminal's choices aside.
func (p *player) expect(s step, got string, read func(string) string) {
	h := s.Hex
	if s.Template {
		var err error
		h, err = fill(s.Hex, p.values(s))
		p.must(err)
	}
	wants := []string{h}
	wants = append(wants, p.plan.accept[s.N]...)
	for _, w := range wants {
		if got == read(w) {
			return
		}
	}
	p.fail("step %d, %s: got %s, want %s", s.N, s.What, got, read(h))
}

func (p *player) envelope(s step) {
	if why := p.plan.free[s.N]; why != "" {
		return
	}
	e, err := p.tk.Wait(p.ctx, notLocation)
	if err != nil {
		p.fail("step %d, %s: no envelope came", s.N, s.What)
	}
	p.expect(s, plain(e.Envelope), func(want string) string { return plain(unhex(want)) })
}

// opensUDP wants the channel of most sequences to have been opened with what the command says.
func opensUDP(name string) func(p *player) {
	return func(p *player) {
		if p.far != nil {
			return
		}
		p.far = p.farEnd()
		r := p.far.req
		if r.Network != "udp" || r.Remote.String() != "1.1.1.1:44444" || r.NetworkAccessName != name ||
			r.Login.Decode() != "UserLog" || r.Password.Decode() != "UserPwd" || r.Bearer.Type != cat.BearerPacket {
			p.fail("connected with %s to %v, access name %q, bearer %v, login %v", r.Network, r.Remote, r.NetworkAccessName, r.Bearer.Type, r.Login)
		}
	}
}

func nothing(*player) {}

// datagram wants what was stored and sent to leave as one datagram.
func datagram(want []byte) func(p *player) {
	return func(p *player) { p.goesOut(p.far, want) }
}

// counting is the payload of the conformance documents: 00, 01, .. FF, 00, ..
func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func pushed(data []byte) func(p *player) { return func(p *player) { p.far.push(data) } }

// drops has the network take the link away.
func drops(p *player) {
	p.far.finish(syscall.ENETDOWN)
	p.hungUp(p.far) // which the gateway does once it knows
	p.settle()
}

var dnsQuery, dnsAnswer = ramp(7, 33), ramp(9, 49)

const named = "TestGp.rs"

// plans are for all sequences of which the bytes alone do not say everything.
var plans = map[string]plan{
	"OPEN_CHANNEL_2.1": {steps: map[int]func(*player){4: opensUDP(""), 5: nothing}},
	"OPEN_CHANNEL_2.2": {steps: map[int]func(*player){4: opensUDP(named), 5: nothing}},
	"OPEN_CHANNEL_2.4": {steps: map[int]func(*player){5: opensUDP(named), 6: nothing}},
	"OPEN_CHANNEL_5.1": {steps: map[int]func(*player){5: opensUDP(named), 6: nothing}},
	"OPEN_CHANNEL_2.5": {values: map[string]string{"BUFFER_GRANTED": "0FA0"}, steps: map[int]func(*player){4: opensUDP(named)}},
	"OPEN_CHANNEL_2.7": {skip: "a headless terminal has no user who could refuse"},
	"OPEN_CHANNEL_2.8": {skip: "a terminal without voice cannot be busy on a call"},
	"OPEN_CHANNEL_6.2": {
		values: map[string]string{"QCI": "09", "PDPTYPE": "02", "NAN": "470A06546573744770027273",
			"LOGIN": "0D08F4557365724C6F67", "PASSWORD": "0D08F455736572507764"},
		steps: map[int]func(*player){4: func(p *player) {
			if r := p.farEnd().req; r.Network != "tcp" || r.Bearer.Type != cat.BearerEUTRAN || r.NetworkAccessName != named {
				p.fail("connected with %s over %v, access name %q", r.Network, r.Bearer.Type, r.NetworkAccessName)
			}
		}},
	},
	"CLOSE_CHANNEL_1.1": {steps: map[int]func(*player){4: opensUDP(named), 9: func(p *player) { p.hungUp(p.far) }}},
	"CLOSE_CHANNEL_1.3": {steps: map[int]func(*player){4: opensUDP(named), 7: drops}},
	"CLOSE_CHANNEL_2.1": {steps: map[int]func(*player){4: opensUDP(named)}},
	"RECEIVE_DATA_1.1":  {steps: map[int]func(*player){8: opensUDP(named), 13: datagram(counting(8)), 16: pushed(counting(1000))}},
	"SEND_DATA_1.1":     {steps: map[int]func(*player){4: opensUDP(named), 9: datagram(counting(8))}},
	"SEND_DATA_1.2":     {steps: map[int]func(*player){4: opensUDP(named), 25: datagram(counting(1000))}},
	"SEND_DATA_1.3":     {steps: map[int]func(*player){4: opensUDP(named), 29: datagram(counting(1000))}},
	"SEND_DATA_1.4":     {steps: map[int]func(*player){4: opensUDP(named), 13: datagram(counting(400))}},
	"SEND_DATA_2.1":     {steps: map[int]func(*player){4: opensUDP(named)}},
	"GET_CHANNEL_STATUS_1.1": {accept: map[int][]string{4: {
		"810301440082028281830100B8020100B8020200B8020300B8020400B8020500B8020600B8020700"}}},
	"GET_CHANNEL_STATUS_1.2": {steps: map[int]func(*player){4: opensUDP(named)}},
	"EVENT_DATA_AVAILABLE_1.1": {steps: map[int]func(*player){8: opensUDP(named), 13: datagram(counting(8)),
		16: pushed(counting(1000))}},
	"EVENT_CHANNEL_STATUS_1.3": {steps: map[int]func(*player){8: opensUDP(named), 11: func(p *player) { p.far.finish(syscall.ENETDOWN) }}},
	"EVENT_DATA_AVAILABLE_2.1": {
		needs:  cat.Facility{Octet: 17, Bit: 3},
		before: func(p *player) { p.open(server(serverPort), 0) },
		steps:  map[int]func(*player){6: func(p *player) { p.client(serverPort, counting(1000)) }},
	},
	"EVENT_CHANNEL_STATUS_2.x": {
		needs: cat.Facility{Octet: 17, Bit: 3},
		steps: map[int]func(*player){12: func(p *player) { p.client(serverPort, nil) }},
		free:  map[int]string{10: "the response has told that the channel listens; the event comes when that changes"},
	},
	"ERR_NO_CHANNEL": {steps: map[int]func(*player){1: func(p *player) {
		for range cat.MaxChannels {
			p.dial("tcp")
		}
	}}, accept: map[int][]string{5: {"81030140018202828183023A0138020000350702030403041F02390203E8"}}},
	"ERR_REMOTE": {script: syscall.ECONNREFUSED, accept: map[int][]string{4: {
		"81030140018202828183023A0035010339020578", "81030140018202828183023A023802010035010339020578"}}},
	"ERR_RX_SHORT": {steps: map[int]func(*player){4: opensUDP(named)}},
	"LIVE_SCP81": {
		values: map[string]string{"TLSCLIENTHELLO": upper(ramp(0, 120)), "237BYTES": upper(ramp(0, 237)), "REMAINING": "03"},
		steps: map[int]func(*player){
			8: func(p *player) {
				p.far = p.farEnd()
				if r := p.far.req; r.Remote.String() != "127.0.0.11:1410" || r.Network != "tcp" || r.NetworkAccessName != "GPB" {
					p.fail("connected to %v, access name %q", r.Remote, r.NetworkAccessName)
				}
			},
			13: func(p *player) { p.goesOut(p.far, ramp(0, 120)) },
			16: pushed(ramp(0, 240)),
			25: nothing,
			26: func(p *player) { p.hungUp(p.far) },
		},
		accept: map[int][]string{17: {"D60E99010982028281B8028100B701F0"}}, // the length is a template in all but its braces
	},
	"LIVE_LINK_DROP": {
		values: map[string]string{"DATA": upper(ramp(0, 100))},
		before: func(p *player) {
			p.subscribe(cat.EventChannelStatus)
			p.dial("tcp")
			_, p.far = p.dial("tcp")
		},
		steps: map[int]func(*player){1: func(p *player) {
			p.far.both(ramp(0, 100), io.EOF)
			p.taken(p.far, 100)
			p.settle()
		}},
		accept: map[int][]string{5: {"810301420082028281830100B664" + upper(ramp(0, 100)) + "B70100"}},
	},
	"DNS_OVER_UDP": {
		before: func(p *player) { p.subscribe(cat.EventDataAvailable) },
		values: map[string]string{"DNSQUERY": upper(dnsQuery), "DNSANSWER": upper(dnsAnswer), "LEN": fmt.Sprintf("%02X", len(dnsAnswer))},
		steps: map[int]func(*player){
			8: func(p *player) {
				p.far = p.farEnd()
				if r := p.far.req; r.Remote.String() != "127.0.0.53:53" || r.Network != "udp" {
					p.fail("connected to %v", r.Remote)
				}
				p.goesOut(p.far, dnsQuery)
			},
			11: pushed(dnsAnswer),
		},
	},
}

func server(port uint16) *cat.OpenChannel {
	return &cat.OpenChannel{BufferSize: 1500, Transport: &cat.TransportLevel{Protocol: cat.TCPServer, Port: port}}
}
