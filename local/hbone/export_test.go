package hbone

// Tick does to every connection what its timer does every ten seconds.
func (s *Server) Tick() {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		c.tick()
	}
}
