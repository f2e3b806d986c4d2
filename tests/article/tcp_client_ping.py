import socket
import sys

client_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
# Departure: the port is the node's, not 12345.
client_socket.connect(('localhost', int(sys.argv[1])))
# Departure: a command instead of a greeting, ended by \r\n as the protocol wants it.
client_socket.send(b'PING\r\n')
print(client_socket.recv(1024))
client_socket.close()
