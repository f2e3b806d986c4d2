import socket
import sys

client_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
# Departure: the port is the node's, not 12345.
client_socket.connect(('localhost', int(sys.argv[1])))
client_socket.send(b'Hello, server!')
print(client_socket.recv(1024))
client_socket.close()
